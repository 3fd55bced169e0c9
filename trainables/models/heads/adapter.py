"""The bottleneck adapter, h + W_up f(W_down h), with an optional LayerNorm before it.

Houlsby et al. 2019 (GELU, both matrices near zero) and AdaptFormer, Chen et al. 2022 (ReLU, the
upper matrix zero, scale 1) are two settings of it. AdaptFormer's learned scale is left out.
"""

from torch import Tensor, nn

from ....spaces.heads import AdapterHead
from ..kernels import Dropout
from . import Additive, registers

ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
HOULSBY_DEVIATION = 1e-3  # of both matrices at the start, as in the official code


@registers(AdapterHead)
class Adapter(Additive):
    """h + W_up dropout(f(W_down LN(h))), where the LayerNorm is there if the settings say so."""

    tokenwise = True

    def __init__(self, width: int, settings: AdapterHead) -> None:
        super().__init__()
        if settings.activation not in ACTIVATIONS:
            raise ValueError(
                f"an adapter's activation is one of {sorted(ACTIVATIONS)}; "
                f"got {settings.activation=}"
            )
        self.norm = nn.LayerNorm(width) if settings.layer_norm else nn.Identity()
        self.down = nn.Linear(width, settings.bottleneck)
        self.activation = ACTIVATIONS[settings.activation]()
        self.dropout = Dropout(settings.structure_dropout)
        self.up = nn.Linear(settings.bottleneck, width)
        self._initialise(settings.init)

    def _initialise(self, init: str) -> None:
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)
        if init == "houlsby":
            nn.init.normal_(self.down.weight, std=HOULSBY_DEVIATION)
            nn.init.normal_(self.up.weight, std=HOULSBY_DEVIATION)
        elif init == "zero":
            nn.init.zeros_(self.up.weight)  # W_down stays random: with both zero nothing learns
        else:
            raise ValueError(f"an adapter's init is houlsby or zero; got {init=}")

    def inner(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The bottleneck's states, [notes, tokens, bottleneck], token by token."""
        del mask
        return self.dropout(self.activation(self.down(self.norm(hidden))))

"""The lightweight adapter of Le et al. 2021, and how one review of the study reads it.

`residual` is h + W_up relu(W_down LN(h)). `inner` is LN(W_up W_down h): without a residual and
without an activation, so that it is a normalised linear map of rank `bottleneck`.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from ....spaces.heads import LightweightHead
from . import Additive, registers

VARIANTS = ("inner", "residual")


@registers(LightweightHead)
class Lightweight(Additive):
    """Both variants have the same parameters and differ in where the LayerNorm stands."""

    tokenwise = True

    def __init__(self, width: int, settings: LightweightHead) -> None:
        super().__init__()
        if settings.variant not in VARIANTS:
            raise ValueError(
                f"a lightweight head's variant is one of {list(VARIANTS)}; got {settings.variant=}"
            )
        self.adds = settings.variant == "residual"
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, settings.bottleneck)
        self.up = nn.Linear(settings.bottleneck, width)

    def inner(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The bottleneck's states, [notes, tokens, bottleneck], token by token."""
        del mask
        return F.relu(self.down(self.norm(hidden)))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map `hidden`, [notes, tokens, width], token by token; `mask` is [notes, tokens] bool."""
        if self.adds:
            return super().forward(hidden, mask)
        return self.norm(self.up(self.down(hidden)))

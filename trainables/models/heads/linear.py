"""The control: nothing stands between the last hidden states and the pooling."""

from torch import Tensor, nn

from ....spaces.heads import LinearHead
from . import registers


@registers(LinearHead)
class Linear(nn.Module):
    """Hidden states as they are; it has no parameters, the classifier behind it has them all."""

    tokenwise = True

    def __init__(self, width: int, settings: LinearHead) -> None:
        super().__init__()
        del width, settings

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return `hidden`, [notes, tokens, width], untouched; `mask` is [notes, tokens] bool."""
        del mask
        return hidden

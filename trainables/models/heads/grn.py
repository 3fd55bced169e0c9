"""The gated residual network of Lim et al. 2021 on every token, without their context vector.

LN(h + GLU(dropout(W1 ELU(W2 h + b2) + b1))) with GLU(x) = sigmoid(W4 x + b4) * (W5 x + b5). At the
backbone's own width it is 24 to 440 times larger than the other heads, hence the bottleneck.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....spaces.heads import GrnHead
from ..kernels import Dropout
from . import registers


@registers(GrnHead)
class Grn(nn.Module):
    """The matrices carry the paper's numbers; W3, of the context, does not exist here."""

    tokenwise = True

    def __init__(self, width: int, settings: GrnHead) -> None:
        super().__init__()
        inside = settings.bottleneck or width
        self.w2 = nn.Linear(width, inside)
        self.w1 = nn.Linear(inside, inside)
        self.dropout = Dropout(settings.structure_dropout)
        self.w4 = nn.Linear(inside, width)
        self.w5 = nn.Linear(inside, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map `hidden`, [notes, tokens, width], token by token; `mask` is [notes, tokens] bool."""
        del mask
        inside = self.dropout(self.w1(F.elu(self.w2(hidden))))
        return self.norm(hidden + torch.sigmoid(self.w4(inside)) * self.w5(inside))

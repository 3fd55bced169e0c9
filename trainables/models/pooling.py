"""How a note's token states become one vector, never over padding.

In float32 whatever the states are stored in. What stands at padding is replaced before any
arithmetic, so that not even an infinity there gets through.
"""

import math

import torch
from torch import Tensor, nn

from ...spaces.configs import Pooling


class Pool(nn.Module):
    """One of the four poolings; only `attention` has a parameter, its one learned query."""

    def __init__(self, kind: Pooling, width: int) -> None:
        super().__init__()
        self.kind = Pooling(kind)
        self.query: nn.Parameter | None = None
        if self.kind is Pooling.ATTENTION:
            # Zero weighs all real tokens alike: training starts from mean pooling.
            self.query = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool over tokens.

        Args:
            hidden: token states, [notes, tokens, width].
            mask: [notes, tokens] bool, True at real tokens, of which every note has one.

        Returns:
            [notes, width] float32.
        """
        hidden = hidden.float()
        padding = ~mask.unsqueeze(-1)  # [notes, tokens, 1]
        if self.kind is Pooling.MAX:
            return hidden.masked_fill(padding, -torch.inf).amax(dim=1)
        if self.kind is Pooling.FIRST:
            first = mask.int().argmax(dim=1)  # 0 unless a tokenizer pads on the left
            return hidden.gather(1, first.view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])).squeeze(1)
        hidden = hidden.masked_fill(padding, 0.0)
        if self.query is None:
            return hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        scores = (hidden @ self.query) / math.sqrt(hidden.shape[-1])  # [notes, tokens]
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=1)
        return (weights.unsqueeze(1) @ hidden).squeeze(1)

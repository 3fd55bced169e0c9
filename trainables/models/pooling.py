"""How a note's token states become one vector, never over padding.

In float32 whatever the states are stored in. What stands at padding may be any finite numbers.
"""

import math

import torch
from torch import Tensor, nn

from ...spaces.configs import Pooling


class Pool(nn.Module):
    """One of the four poolings; only `attention` has a parameter, its one learned query."""

    def __init__(self, kind: Pooling, width: int) -> None:
        super().__init__()
        self.kind, self.width = Pooling(kind), width
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
        if self.kind is Pooling.MAX:
            # By places, not by amax, whose gradient goes over all tokens again, and on a CPU makes
            # copies that a GPU does not.
            return hidden.masked_fill(~mask.unsqueeze(-1), -torch.inf).max(dim=1).values
        if self.kind is Pooling.FIRST:
            return _first(hidden, mask)
        scores = None if self.query is None else hidden @ self.query
        return _weighed(self._weights(mask, scores), hidden)

    def of_sum(self, hidden: Tensor, inner: Tensor, up: nn.Linear, mask: Tensor) -> Tensor:
        """Pool hidden + up(inner) as `forward` would, without making it where that can be.

        Args:
            hidden: token states, [notes, tokens, width] float32.
            inner: narrower states, [notes, tokens, narrow] float32.
            up: from narrow to width.
            mask: see `forward`.

        Returns:
            [notes, width] float32.
        """
        if self.kind is Pooling.MAX:
            return self(hidden + up(inner), mask)
        if self.kind is Pooling.FIRST:
            return _first(hidden, mask) + up(_first(inner, mask))
        scores = None
        if self.query is not None:  # up's bias scores all tokens alike, which a softmax ignores
            scores = hidden @ self.query + inner @ (self.query @ up.weight)
        weights = self._weights(mask, scores)
        return _weighed(weights, hidden) + up(_weighed(weights, inner))

    def _weights(self, mask: Tensor, scores: Tensor | None) -> Tensor:
        """Of each token, [notes, tokens]; 0 at padding, 1 in sum."""
        if scores is None:
            real = mask.float()  # said here: a CPU would cast inside the division, a GPU would not
            return real / real.sum(dim=1, keepdim=True)
        scores = scores / math.sqrt(self.width)
        return scores.masked_fill(~mask, -torch.inf).softmax(dim=1)


def _weighed(weights: Tensor, states: Tensor) -> Tensor:
    """[notes, tokens] and [notes, tokens, width] -> [notes, width]."""
    return torch.bmm(weights.unsqueeze(1), states).squeeze(1)


def _first(states: Tensor, mask: Tensor) -> Tensor:
    """Of each note's first real token: 0 unless a tokenizer pads on the left."""
    first = mask.int().argmax(dim=1)
    return states.gather(1, first.view(-1, 1, 1).expand(-1, 1, states.shape[-1])).squeeze(1)

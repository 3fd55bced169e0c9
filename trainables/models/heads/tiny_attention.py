"""TinyAttention of Zhao et al. 2022: self-attention over the note in k dimensions, added to h.

Like the official code it projects to 3 k dimensions first and leaves to the attention its own
projections k -> k. The cost is quadratic in tokens, with one number per pair of tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ....spaces.heads import TinyAttentionHead
from ..kernels import additive, attention
from . import Additive, registers

OUTPUT_SCALE = 0.01  # of the last layer's weights and biases at the start, as in the official code


@registers(TinyAttentionHead)
class TinyAttention(Additive):
    """h + W_up attention(q, k, v), where q, k, v = W_in LN(h) and padding is no key."""

    def __init__(self, width: int, settings: TinyAttentionHead) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * settings.attention_width)
        self.attention = nn.MultiheadAttention(
            settings.attention_width, 1, dropout=settings.structure_dropout, batch_first=True
        )
        self.up = nn.Linear(settings.attention_width, width)
        with torch.no_grad():
            self.up.weight.mul_(OUTPUT_SCALE)
            # The bias too: at k = 1 a Linear starts it in U(-1, 1), as large as h itself.
            self.up.bias.mul_(OUTPUT_SCALE)

    def inner(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """What each token takes from the others, [notes, tokens, k]."""
        query, key, value = self.project(self.norm(hidden)).chunk(3, dim=-1)
        return self._mixed(query, key, value, mask)

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """What the module's own forward computes, by the attention that all models here share."""
        inner = self.attention
        weights, biases = inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3)
        query, key, value = (
            F.linear(states, weight, bias).unsqueeze(1)  # one head: [notes, 1, tokens, k]
            for states, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        mixed = attention(
            query,
            key,
            value,
            additive(mask),
            scale=query.shape[-1] ** -0.5,
            dropout_share=inner.dropout,
            training=self.training,
        )
        return inner.out_proj(mixed.squeeze(1))

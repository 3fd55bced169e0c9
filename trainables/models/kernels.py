"""The operations whose memory depends on the device, written out so that it does not.

PyTorch's dropout keeps four bytes a number on a CPU and one on a GPU, and which fused attention it
takes depends on the device, its generation and the mask. Here both are plain operations: they need
the same memory everywhere, give the same bits twice on a GPU, and can be traced without one. What
is lost is the speed and the memory of fused attention on long notes. `packed_attention` is for what
a block projects at once: fewer copies, and gradients written out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

PLAIN_ATTENTION = "headhunt_plain"  # as transformers knows it, once it was told of it

Drop = Callable[[Tensor, float], Tensor]  # states and a share -> the states with what was dropped
_INSTEAD: ContextVar[Drop | None] = ContextVar("what drops instead", default=None)


def dropout(states: Tensor, share: float, training: bool) -> Tensor:
    """Zero this share of the numbers and scale the rest, in training; keeps a byte a number."""
    if not training:
        return states
    if (instead := _INSTEAD.get()) is not None:
        return instead(states, share)
    if share == 0.0:
        return states
    return drop(states, draw_kept(states.shape, share, states.device), 1 / (1 - share))


def drop(states: Tensor, kept: Tensor, scale: float | Tensor) -> Tensor:
    """`states` times `scale` where `kept` is True, 0 elsewhere."""
    # Not multiplied by the mask, which a CPU would copy to floats for that, and a GPU would not.
    return torch.where(kept, states, 0.0).mul_(scale)


def draw_kept(
    shape: Sequence[int],
    share: float,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> Tensor:
    """True where a number stays, bool.

    Args:
        shape: of what is dropped from.
        share: that is dropped, in [0, 1); a CPU rounds it to a 65,536th.
        device: where to draw.
        generator: of that device; None: torch's own.
    """
    if device.type != "cpu":
        kept = torch.empty(shape, dtype=torch.bool, device=device)
        return kept.bernoulli_(1 - share, generator=generator)
    # A CPU draws one after the other: four numbers of 16 bits at once take a quarter of the time.
    count = math.prod(shape)
    fours = torch.empty(-(-count // 4), dtype=torch.int64)
    drawn = fours.random_(-(1 << 63), None, generator=generator).view(torch.int16)
    lowest = min(round(share * (1 << 16)), (1 << 16) - 1) - (1 << 15)
    return drawn[:count].view(shape).ge(lowest)


@contextmanager
def dropping_by(instead: Drop) -> Iterator[None]:
    """Inside, `dropout` in training is this function: for models that are run as one."""
    before = _INSTEAD.set(instead)
    try:
        yield
    finally:
        _INSTEAD.reset(before)


class Dropout(nn.Dropout):
    """`nn.Dropout` by the function above."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop from `input`, of any shape."""
        return dropout(input, self.p, self.training)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_share: float = 0.0,
    training: bool = False,
) -> Tensor:
    """Softmax attention by matrix products.

    Args:
        query: [notes, heads, tokens, width], as key and value.
        key: see `query`.
        value: see `query`.
        mask: added to the scores, broadcast to [notes, heads, tokens, tokens]; or None.
        scale: of the scores.
        dropout_share: of the weights, in [0, 1).
        training: whether there is dropout.

    Returns:
        [notes, heads, tokens, width].
    """
    scores = torch.matmul(query * scale, key.transpose(-2, -1))
    if mask is not None:
        scores = scores.add_(mask)  # in place: the scores alone are as large as a layer
    weights = scores.softmax(dim=-1)
    del scores
    return torch.matmul(dropout(weights, dropout_share, training), value)


def packed_attention(packed: Tensor, mask: Tensor, heads: int) -> Tensor:
    """`attention` on queries, keys and values that one projection made, without dropout.

    Args:
        packed: [notes, tokens, 3 * width] float32: queries, then keys, then values, each of them
            the heads' one after the other.
        mask: see `additive`.
        heads: that share the width.

    Returns:
        [notes, tokens, width].
    """
    return _PackedAttention.apply(packed, mask, heads)


class _PackedAttention(torch.autograd.Function):
    """Its gradients written out: the weights are the only thing kept of a number a pair of tokens.

    With A = softmax(s Q K' + mask) and O = A V: dV = A' dO, and the scores' gradient is
    A * (dO V' - rowsum(dO * O)), as in Dao et al. 2022 (FlashAttention), appendix B.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor, mask: Tensor, heads: int) -> Tensor:
        notes, tokens = packed.shape[:2]
        # [notes, tokens, 3, heads, narrow] -> 3 of [notes * heads, tokens, narrow]
        apart = packed.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        states = apart.reshape(3, notes * heads, tokens, -1)
        query, key, value = states
        scale = query.shape[-1] ** -0.5
        masks = mask.expand(notes, heads, 1, tokens).reshape(notes * heads, 1, tokens)
        weights = torch.baddbmm(masks, query, key.mT, alpha=scale).softmax(dim=-1)
        mixed = torch.bmm(weights, value)
        ctx.save_for_backward(states, weights, mixed)
        ctx.heads, ctx.scale = heads, scale
        return mixed.unflatten(0, (notes, heads)).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        states, weights, mixed = ctx.saved_tensors
        query, key, value = states
        given = gradients[0].unflatten(-1, (ctx.heads, -1)).transpose(1, 2).reshape(mixed.shape)
        found = torch.empty_like(states)
        torch.bmm(weights.mT, given, out=found[2])
        scores = torch.bmm(given, value.mT)
        scores.sub_((given * mixed).sum(dim=-1, keepdim=True)).mul_(weights)
        torch.bmm(scores, key, out=found[0])
        torch.bmm(scores.mT, query, out=found[1])
        found[:2].mul_(ctx.scale)
        apart = found.unflatten(1, (-1, ctx.heads))  # [3, notes, heads, tokens, narrow]
        return apart.permute(1, 3, 0, 2, 4).flatten(2), None, None


def additive(mask: Tensor) -> Tensor:
    """0 at real tokens and minus infinity at padding: [notes, tokens] -> [notes, 1, 1, tokens]."""
    zeros = torch.zeros_like(mask, dtype=torch.float32)
    return zeros.masked_fill_(~mask, -torch.inf)[:, None, None, :]


@cache
def plain_attention_name() -> str:
    """Tell transformers of this attention, and return the name that it knows it by."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    AttentionInterface.register(PLAIN_ATTENTION, attention_for_transformers)
    AttentionMaskInterface.register(PLAIN_ATTENTION, eager_mask)
    return PLAIN_ATTENTION


def attention_for_transformers(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,
) -> tuple[Tensor, None]:
    """`attention` with the signature and the order of axes that transformers' encoders want."""
    del unused
    mixed = attention(
        query,
        key,
        value,
        attention_mask,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        dropout_share=dropout,
        training=module.training,
    )
    return mixed.transpose(1, 2).contiguous(), None


def with_plain_dropout(module: nn.Module) -> nn.Module:
    """Replace every `nn.Dropout` below the module, in place."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            setattr(module, name, Dropout(child.p))
        else:
            with_plain_dropout(child)
    return module

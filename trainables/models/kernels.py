"""The operations whose memory depends on the device, written out so that it does not.

PyTorch's dropout keeps four bytes a number on a CPU and one on a GPU, and which fused attention it
takes depends on the device, its generation and the mask. Here both are plain operations: they need
the same memory everywhere, give the same bits twice on a GPU, and can be traced without one. What
is lost is the speed and the memory of fused attention on long notes.
"""

from collections.abc import Callable, Iterator
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
    dropped = torch.empty_like(states, dtype=torch.bool).bernoulli_(share)
    # Filled, not multiplied: a CPU would copy the mask to floats for that, a GPU would not.
    return states.masked_fill(dropped, 0.0).mul_(1 / (1 - share))


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

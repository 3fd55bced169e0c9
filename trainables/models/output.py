"""What every network here returns, so that one training loop serves heads and scratch models."""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """A forward's result; training minimises the classification loss plus `balance_loss`."""

    logits: Tensor  # [notes, classes] float32
    balance_loss: Tensor | None = None  # scalar, weighted already; None where nothing is routed

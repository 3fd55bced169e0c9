"""A confirming trial's look at the test part, once, with the weights that it ends with."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor, nn

from ..spaces.record import Scoring
from .models.finetuned import load_trained_state
from .training.loop import DivergedError, Task, predict
from .training.metrics import score


def examine(
    build: Callable[[], nn.Module],
    weights: Mapping[str, Tensor],
    task: Task,
    test: np.ndarray,
    *,
    batch_limit: int,
    device: torch.device,
) -> Scoring:
    """Score a network on the test part.

    Args:
        build: makes the network.
        weights: what of it training has moved.
        task: whose inputs and labels they are.
        test: places of the test notes, ascending, [test notes] int64.
        batch_limit: notes a batch at most.
        device: where to compute.

    Raises:
        DivergedError: what the network says is not finite.
    """
    model = build().to(device)
    load_trained_state(model, dict(weights))
    probabilities = predict(model, replace(task, validation=test), batch_limit, device)
    if not np.isfinite(probabilities).all():
        raise DivergedError("diverged: what it says of the test part is not finite")
    return scoring(probabilities, task.labels[test])


def scoring(probabilities: np.ndarray, labels: np.ndarray) -> Scoring:
    """Of class probabilities [test notes, classes] against class codes [test notes]."""
    scores = score(probabilities, labels)
    return Scoring(
        scored_at=datetime.now(UTC).isoformat(timespec="seconds"),
        f1=scores.f1,
        accuracy=scores.accuracy,
        precision=scores.precision,
        recall=scores.recall,
        predicted=probabilities.argmax(axis=1).tolist(),
    )

"""An epoch of the adapter head on stored features, beside the matrix products that it needs.

The products are those of the very batches, by themselves: down in training and validation, and the
gradient of W_down. Those of W_up see one vector a note (decision 13) and are left out. Beside them
stand the products of the equation as it is written, W_up on every token, as any other code trains
it. One thread, processor seconds, the fastest of several. `python -m benchmarks.head_epoch`.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.training.batches import Ragged, evaluation_batches, training_batches
from headhunt.trainables.training.loop import Task, train
from headhunt.trainables.worker import settle

TRAINING, VALIDATION, WIDTH, BOTTLENECK = 1200, 300, 384, 64
EPOCHS = 5
Products = Callable[[Tensor, Tensor, Tensor], None]  # of states, inner states and W_down
LIMIT = 2.0  # times
CPU = torch.device("cpu")


def measure() -> str:
    """One line."""
    settle(CPU, 1)
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(4, 27, TRAINING + VALIDATION).astype(int), 8, 256)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    notes = np.arange(len(lengths))
    task = Task(
        Ragged(torch.randn(int(offsets[-1]), WIDTH).half(), offsets),
        generator.integers(0, 2, len(lengths)),
        2,
        notes[:TRAINING],
        notes[TRAINING:],
    )
    config = HeadConfig(backbone="features", head=AdapterHead(bottleneck=BOTTLENECK))
    settings = TrainingSettings(max_epochs=EPOCHS, patience=0, batch_limit=8, max_tokens=256)
    epochs = train(
        lambda: HeadModel(WIDTH, 2, config),
        task,
        config.optimisation,
        settings,
        seed=0,
        device=CPU,
    )
    epoch = min(each.report.cpu_seconds for each in epochs)
    products = min(product_seconds(task, config, (forward, both)) for _ in range(EPOCHS))
    written = min(product_seconds(task, config, (as_written, all_five)) for _ in range(EPOCHS))
    return (
        f"head epoch: adapter {BOTTLENECK}, {int(lengths[:TRAINING].sum()):,} training tokens of "
        f"width {WIDTH}: {epoch:.3f} s, {epoch / products:.1f} times its matrix products "
        f"({products:.3f} s; at most {LIMIT}), {epoch / written:.1f} times those of the equation "
        f"as it is written ({written:.3f} s)"
    )


def product_seconds(task: Task, config: HeadConfig, products: tuple[Products, Products]) -> float:
    """Of one epoch, by the products of a batch that is scored and of one that is trained on."""
    lengths, size = task.inputs.lengths, config.optimisation.batch_size
    trained = training_batches(task.training, lengths, batch_size=size, seed=0)
    scored = evaluation_batches(task.validation, lengths, batch_size=size)
    down = torch.randn(BOTTLENECK, WIDTH)
    total = 0.0
    for batches, run in zip((scored, trained), products, strict=True):
        for batch in batches:
            states = torch.randn(len(batch) * int(lengths[batch].max()), WIDTH)
            inner = torch.randn(len(states), BOTTLENECK)
            total += seconds(lambda s=states, i=inner, r=run: r(s, i, down))
    return total


def forward(states: Tensor, inner: Tensor, down: Tensor) -> None:
    """W_down of a batch's states."""
    del inner
    torch.mm(states, down.T)


def both(states: Tensor, inner: Tensor, down: Tensor) -> None:
    """`forward`, and the gradient of W_down."""
    forward(states, inner, down)
    torch.mm(inner.T, states)


def as_written(states: Tensor, inner: Tensor, down: Tensor) -> None:
    """W_down and W_up of a batch's states."""
    torch.mm(states, down.T)
    torch.mm(inner, down)


def all_five(states: Tensor, inner: Tensor, down: Tensor) -> None:
    """`as_written`, and the gradients of both matrices and of what is between them."""
    as_written(states, inner, down)
    torch.mm(states, down.T)
    torch.mm(inner.T, states)
    torch.mm(states.T, inner)


def seconds(run: Callable[[], None]) -> float:
    """Of the processor."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


if __name__ == "__main__":
    print(measure())

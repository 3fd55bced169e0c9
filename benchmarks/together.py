"""A trial's epoch alone and in groups of heads that are trained in one batched pass.

On the GPU where there is one, by the wall; else on one thread, in processor seconds. The fastest
epoch after the first; a group's is divided among its members. `python -m benchmarks.together`,
three minutes on a processor.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import AdapterHead, LinearHead, TinyAttentionHead
from headhunt.spaces.record import EpochReport
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.models.classifier import HeadModel, as_read
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.loop import DivergedError, Task, train
from headhunt.trainables.training.together import Member, train_together
from headhunt.trainables.worker import settle

MEMBERS = (1, 2, 4, 8, 16, 32)  # 1: alone, by the loop of every trial
RESIDENT_BYTES = 2**30  # of a GPU, for the features of a group
CLASSES, MAX_TOKENS = 2, 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    training: int = 640  # notes
    validation: int = 160
    width: int = 384
    epochs: int = 3  # of which the first warms up
    members: tuple[int, ...] = MEMBERS


@dataclass(frozen=True, slots=True)
class Group:
    """So many trained together."""

    members: int
    seconds: float  # of a trial's epoch
    losses: list[float]  # of the first member's validation, epoch by epoch


def kinds() -> list[tuple[str, HeadConfig]]:
    """The smallest heads: one vector a note, and all of its tokens."""
    plain = HeadConfig(backbone="features", head=LinearHead())
    return [
        ("linear, pooled", plain),
        ("adapter 16, tokens", replace(plain, head=AdapterHead(bottleneck=16))),
        ("tiny attention, tokens", replace(plain, head=TinyAttentionHead())),
    ]


def made_task(config: HeadConfig, plan: Plan) -> Task:
    """Notes of 8 to 256 tokens, 108 on average, whose states are noise."""
    generator = np.random.default_rng(0)
    count = plan.training + plan.validation
    lengths = np.clip(generator.gamma(4, 27, count).astype(int), 8, MAX_TOKENS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    states = generator.standard_normal((offsets[-1], plan.width), dtype=np.float32)
    inputs = as_read(config, Ragged(torch.from_numpy(states).half(), offsets))
    notes = np.arange(count)
    labels = generator.integers(0, CLASSES, count)
    return Task(inputs, labels, CLASSES, notes[: plan.training], notes[plan.training :])


def trained(
    config: HeadConfig, task: Task, plan: Plan, members: int, device: torch.device
) -> Group:
    """The first member's epochs, alone or with others that have other seeds."""
    settings = TrainingSettings(
        max_epochs=plan.epochs, patience=0, batch_limit=8, max_tokens=MAX_TOKENS
    )
    chosen = config.optimisation

    def build() -> HeadModel:
        return HeadModel(plan.width, CLASSES, config)

    if members == 1:
        epochs = train(build, task, chosen, settings, seed=0, device=device)
        return told(1, [epoch.report for epoch in epochs], device)
    rounds = train_together(
        [Member(build, chosen, seed) for seed in range(members)],
        task,
        settings,
        device=device,
        resident_bytes=RESIDENT_BYTES if device.type == "cuda" else 0,
    )
    firsts = [found[0] for found in rounds]
    return told(members, [e.report for e in firsts if not isinstance(e, DivergedError)], device)


def told(members: int, reports: Sequence[EpochReport], device: torch.device) -> Group:
    """What its reports say of a group."""
    on_cpu = device.type == "cpu"
    seconds = [report.cpu_seconds if on_cpu else report.wall_seconds for report in reports[1:]]
    return Group(members, min(seconds), [report.validation_loss for report in reports])


def measure(members: tuple[int, ...] = MEMBERS) -> Iterator[str]:
    """A line a kind of head."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settle(device, 1)
    plan = Plan(members=members)
    for name, config in kinds():
        task = made_task(config, plan)
        groups = [trained(config, task, plan, members, device) for members in plan.members]
        alone = groups[0].seconds
        times = ", ".join(f"{g.members}: {alone / g.seconds:.2f}" for g in groups[1:])
        yield f"together on {device.type}: {name}, alone {alone * 1e3:.1f} ms an epoch; {times}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.together")
    parser.add_argument(
        "--members", type=int, default=MEMBERS[-1], help="of the largest group (default 32)"
    )
    most = parser.parse_args().members
    for line in measure(tuple(count for count in MEMBERS if count <= most)):
        print(line, flush=True)


if __name__ == "__main__":
    main()

"""The footprint's seconds beside the clock: this processor as a card of its own.

Its rates come from micro-benchmarks alone (`headhunt footprint --calibrate`), the prediction from
the roofline, the truth from the training loop: the fastest of some epochs, in processor seconds of
one thread, as other work on the machine only ever makes it slower. On a GPU the clock decides.
`python -m benchmarks.footprint_time` prints the table of `docs/footprint.md`; six minutes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import spearmanr

from headhunt.spaces.configs import HeadConfig, Mode, ScratchConfig
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.card.calibration import calibrate, rated
from headhunt.trainables.card.cards import Card
from headhunt.trainables.card.footprint import Workload
from headhunt.trainables.models.classifier import as_read
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.loop import Task, train

from .footprint_memory import CLASSES, ENCODER, NOTES, TOKENS, configs, footprinter, network_of

TRAINING, VALIDATION = 40 * NOTES, 8 * NOTES  # notes
EPOCHS = 4  # of which the first warms up
MEDIAN_BOUND, RANK_BOUND = 0.25, 0.9
ANY_WATTS = 1.0  # nothing here depends on them


@dataclass(frozen=True, slots=True)
class Compared:
    """One row of the table."""

    name: str
    family: str
    predicted_seconds: float  # an epoch
    measured_seconds: float

    @property
    def error(self) -> float:
        """Of the prediction, as a share of the truth."""
        return self.predicted_seconds / self.measured_seconds - 1


def main() -> None:
    """Print the table, the median error, and the rank correlation in each family."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    card = calibrate(ANY_WATTS)
    print(f"{card.name}: {rated(card)}\n")
    rows = []
    print("| config | predicted ms | measured ms | error |\n|---|---|---|---|")
    for row in compare(card, device):
        rows.append(row)
        predicted, measured = row.predicted_seconds * 1e3, row.measured_seconds * 1e3
        print(f"| {row.name} | {predicted:,.1f} | {measured:,.1f} | {row.error:+.0%} |", flush=True)
    print(f"\n{len(rows)} configs; median error {median_error(rows):.0%} (at most 25 %)")
    for family, correlation in rank_correlations(rows).items():
        print(f"rank correlation within {family}: {correlation:.3f} (at least {RANK_BOUND})")


def median_error(rows: list[Compared]) -> float:
    """Of the absolute relative errors."""
    return float(np.median([abs(row.error) for row in rows]))


def rank_correlations(rows: list[Compared]) -> dict[str, float]:
    """Spearman's, within each family."""
    found = {}
    for family in dict.fromkeys(row.family for row in rows):
        own = [row for row in rows if row.family == family]
        result = spearmanr(
            [row.predicted_seconds for row in own], [row.measured_seconds for row in own]
        )
        found[family] = float(np.asarray(result)[0])
    return found


def timed_configs() -> Iterator[tuple[str, HeadConfig | ScratchConfig]]:
    """Those of the memory benchmark, and more scratch models, so that there is a rank."""
    yield from configs()
    known = dict(configs())
    for name in ("transformer, width 32, adamw", "moe, width 32, adamw"):
        config = known[name]
        assert isinstance(config, ScratchConfig)
        for width, blocks in ((32, 3), (64, 2), (96, 1), (96, 3), (128, 2)):
            sized = replace(config, width=width, feed_forward=2 * width, blocks=blocks)
            yield f"{config.model}, width {width}, blocks {blocks}, feed-forward {2 * width}", sized


def compare(card: Card, device: torch.device) -> Iterator[Compared]:
    """Prediction and truth of every config."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(TOKENS // 4, TOKENS + 1, size=TRAINING + VALIDATION)
    order = np.arange(len(lengths))
    workload = Workload(lengths, order[:TRAINING], order[TRAINING:])
    for name, config in timed_configs():
        found = footprinter(card=card, workload=workload)(config)
        assert found is not None
        measured = epoch_seconds(config, workload, device)
        yield Compared(name, config.family, found.epoch_seconds, measured)


def epoch_seconds(
    config: HeadConfig | ScratchConfig, workload: Workload, device: torch.device
) -> float:
    """The fastest epoch."""
    frozen = isinstance(config, HeadConfig) and config.mode is Mode.FROZEN
    count = int(workload.lengths.sum())
    rows = (
        torch.randn(count, ENCODER["width"]).half()
        if frozen
        else torch.full((count,), 5, dtype=torch.int32)
    )
    offsets = np.concatenate([[0], np.cumsum(workload.lengths)])
    labels = np.arange(len(workload.lengths)) % CLASSES
    inputs = as_read(config, Ragged(rows, offsets))
    task = Task(inputs, labels, CLASSES, workload.training, workload.validation)
    settings = TrainingSettings(max_epochs=EPOCHS, patience=0, batch_limit=NOTES, max_tokens=TOKENS)
    epochs = train(
        lambda: network_of(config), task, config.optimisation, settings, seed=0, device=device
    )
    reports = [epoch.report for epoch in epochs][1:]
    on_cpu = device.type == "cpu"
    return min(report.cpu_seconds if on_cpu else report.wall_seconds for report in reports)


if __name__ == "__main__":
    main()

"""Section 6: how much longer an epoch of a BERT-base is than one of a MoE Transformer.

The study's group reports 190 times for its own corpus and card. Here stand the footprint's word for
the Quadro P620, and what this device took; the same notes for all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, Optimiser, ScratchConfig
from headhunt.spaces.heads import LinearHead
from headhunt.trainables.card.cards import CARDS

from .machine import Machine
from .scale import BASE, NetConfig, Scale
from .sections import Deadline, Promise, left_out, table
from .times import epoch_seconds, seconds

REPORTED = 190
VOCABULARY = 20_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    scale: Scale = BASE
    training: int = 160  # notes
    validation: int = 32
    epochs: int = 3
    vocabulary: int = VOCABULARY


@dataclass(frozen=True, slots=True)
class Row:
    """A config's epoch."""

    name: str
    predicted: float  # seconds on the P620
    measured: float  # seconds here
    fits: bool  # on the P620


@dataclass(frozen=True, slots=True)
class Ratio:
    """What was found; the first row is the one that the others are compared with."""

    rows: list[Row]
    wanted: int

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield from table(
            ["config", "P620 predicted s", "times the first", "here s", "times the first", "fits"],
            (
                [
                    row.name,
                    f"{row.predicted:,.2f}",
                    f"{row.predicted / self.rows[0].predicted:,.0f}",
                    f"{row.measured:,.3f}",
                    f"{row.measured / self.rows[0].measured:,.1f}",
                    "yes" if row.fits else "no",
                ]
                for row in self.rows
            ),
        )
        yield from left_out(len(self.rows), self.wanted)
        yield ""
        yield (
            f"Reported for the group's own corpus, on a whole training: at least {REPORTED} times. "
            "A large device is short of work on so small a model, and the ratio is smaller there."
        )

    def promises(self) -> Sequence[Promise]:
        """None: whether the reported figure comes out is a finding."""
        return []


def compared(scale: Scale, vocabulary: int) -> list[tuple[str, NetConfig]]:
    """From the smallest to the whole encoder."""
    moe = ScratchConfig(model="moe", experts=10, classifier_dropout=0.25, vocabulary=vocabulary)
    last = HeadConfig(backbone=scale.backbone, head=LinearHead(), mode=Mode.LAST_K, last_k=2)
    full = HeadConfig(backbone=scale.backbone, head=LinearHead(), mode=Mode.FULL)
    adafactor = Optimisation(optimiser=Optimiser.ADAFACTOR)
    return [
        ("MoE Transformer", moe),
        ("Transformer", replace(moe, model="transformer", experts=0, classifier_dropout=0.1)),
        ("last 2 layers", last),
        ("full, AdamW", full),
        (
            "full, Adafactor, checkpointing",
            replace(full, optimisation=adafactor, checkpointing=True),
        ),
    ]


def ratio(machine: Machine, deadline: Deadline, plan: Plan | None = None) -> Ratio:
    """Predict for the P620, measure here."""
    plan = plan or Plan()
    workload = plan.scale.mixed_workload(plan.training, plan.validation)
    footprinter = plan.scale.footprinter(CARDS["p620"], workload)
    chosen, rows = compared(plan.scale, plan.vocabulary), []
    with machine.whole():
        for name, config in chosen:
            if deadline.left <= 0:
                break
            measured = epoch_seconds(machine, plan.scale, config, workload, plan.epochs)
            found = footprinter(config)
            assert found is not None
            predicted = seconds(footprinter, config)
            rows.append(Row(name, predicted, measured, found.excess_bytes <= 0))
    return Ratio(rows, len(chosen))

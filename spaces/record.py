"""What a trial leaves behind: its states, and every column with its unit and its origin.

The README, the dataframe and the report describe a column with the words that stand here, once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a trial ended, told as it was."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


STARTED = (State.RUNNING, State.COMPLETE, State.PRUNED, State.FAILED)  # what a budget counts
UNSCORED = (State.INFEASIBLE, State.FAILED)  # whatever its epochs were, such a trial has no score


class Role(StrEnum):
    """Why a trial was run."""

    CONTROL = "control"  # a baseline that stands beside the search
    REFERENCE = "reference"  # the official code's values, tried first
    SEARCH = "search"  # the sampler's proposal


def flat(record: Any) -> dict[str, Any]:
    """A dataclass's values by name, as they are: `asdict` of one level, without copies."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReport:
    """One epoch of a trial; metrics are on the validation part, macro means over classes."""

    epoch: int  # completed epochs, from 1
    f1: float  # macro F1, in [0, 1]
    accuracy: float  # in [0, 1]
    precision: float  # macro, in [0, 1]
    recall: float  # macro, in [0, 1]
    validation_loss: float  # mean cross-entropy, nats a note
    train_loss: float  # mean over the epoch, nats a note
    wall_seconds: float  # this epoch, training and validation
    cpu_seconds: float  # process time of this epoch
    peak_bytes: int | None = None  # most that the trial's tensors took so far; None: not measured
    reserved_bytes: int | None = None  # most that a GPU's allocator held for them so far
    energy_joules: float | None = None  # of this epoch, by the board's counter and the share held
    group_size: int = 1  # trials that were trained in one pass with it, itself included

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return flat(self)


def best_report(reports: Sequence[EpochReport]) -> EpochReport | None:
    """The epoch of the score: the highest F1, the earliest of equals; None without a report."""
    return max(reports, key=lambda r: (r.f1, -r.epoch), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a config needs on the card, by the model; all of it is modelled, nothing measured."""

    peak_bytes: int  # training, validation and encoding, whichever is largest, and workspaces
    limit_bytes: int  # the card's memory less its context reserve
    trainable_parameters: int
    total_parameters: int  # with the backbone's
    step_flops: int  # one training step at the worst batch
    step_bytes: int  # moved by it
    epoch_seconds: float  # on the card: training and validation
    encoding_seconds: float  # on the card: the whole corpus through a frozen backbone, once
    # The peak by part: the first five stand there when training or validation needs most. Zero in
    # studies from before they were recorded.
    parameter_bytes: int = 0
    gradient_bytes: int = 0
    optimiser_bytes: int = 0  # its state
    activation_bytes: int = 0  # all else that a step holds
    rounding_bytes: int = 0  # of each storage, by the allocator
    encoding_bytes: int = 0  # peak of the encoding; it comes before the training, not beside it
    workspace_bytes: int = 0  # of the matrix library: an allowance
    reserve_bytes: int = 0  # of the card, outside the allocator: an allowance, not in the peak

    @property
    def excess_bytes(self) -> int:
        """Bytes over the card's limit; positive is infeasible."""
        return self.peak_bytes - self.limit_bytes

    def card_hours(self, epochs: int) -> float:
        """Hours on the card for this many epochs, as if the config had been trained alone."""
        return (epochs * self.epoch_seconds + self.encoding_seconds) / 3600

    def card_hours_marginal(self, epochs: int) -> float:
        """The same without the encoding that all heads of a backbone share."""
        return epochs * self.epoch_seconds / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicate:
    """What a confirming trial repeats: a searched trial with another seed, on what of the notes."""

    trial: int  # number of the searched one
    number: int  # of the replicate, from 1: its seed follows from it
    train_fraction: float = 1.0  # of the notes to train on, by whole patients, in (0, 1]
    with_validation: bool = False  # those are the training and the validation part's
    epochs: int | None = None  # trained, fixed beforehand; None: the best is chosen on validation

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """One look at the test part; metrics are macro means over classes."""

    scored_at: str  # UTC, ISO 8601
    f1: float  # in [0, 1]
    accuracy: float  # in [0, 1]
    precision: float  # in [0, 1]
    recall: float  # in [0, 1]
    predicted: Sequence[int]  # class of each test note, in the order of their rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the trials dataframe."""

    name: str
    unit: str  # "" where it has none
    origin: str  # chosen | measured | modelled | derived
    text: str


COLUMNS = (
    Column(name="trial", unit="", origin="chosen", text="number of the trial in its study, from 0"),
    Column(
        name="state",
        unit="",
        origin="measured",
        text="complete, pruned (stopped at a rung), infeasible (the card could not hold it: by the "
        "model, and never run, or as measured), failed, or running",
    ),
    Column(name="reason", unit="", origin="measured", text="why it ended as it did"),
    Column(
        name="role",
        unit="",
        origin="chosen",
        text="control (a baseline), reference (the official code's values) or search (the sampler)",
    ),
    Column(
        name="family",
        unit="",
        origin="chosen",
        text="what it is compared with at a rung: a backbone and mode, a scratch model, baselines",
    ),
    Column(name="model", unit="", origin="chosen", text="the head, scratch model or baseline"),
    Column(name="backbone", unit="", origin="chosen", text="the pre-trained encoder under a head"),
    Column(name="mode", unit="", origin="chosen", text="how the backbone trains"),
    Column(
        name="f1",
        unit="",
        origin="measured",
        text="the score: macro F1 on validation at the best epoch, in [0, 1]",
    ),
    Column(
        name="accuracy",
        unit="",
        origin="measured",
        text="on validation at the best epoch, in [0, 1]",
    ),
    Column(
        name="precision",
        unit="",
        origin="measured",
        text="macro precision on validation at the best epoch, in [0, 1]",
    ),
    Column(
        name="recall",
        unit="",
        origin="measured",
        text="macro recall on validation at the best epoch, in [0, 1]",
    ),
    Column(
        name="validation_loss_nats",
        unit="nats a note",
        origin="measured",
        text="cross-entropy on validation at the best epoch",
    ),
    Column(
        name="train_loss_nats",
        unit="nats a note",
        origin="measured",
        text="mean training loss over the best epoch",
    ),
    Column(name="best_epoch", unit="epochs", origin="measured", text="the epoch of the score"),
    Column(name="epochs", unit="epochs", origin="measured", text="epochs trained and paid"),
    Column(
        name="card_hours",
        unit="h",
        origin="modelled",
        text="GPU-hours on the study's card: all epochs paid and the whole encoding of the corpus, "
        "as if the config had been trained alone",
    ),
    Column(
        name="card_hours_marginal",
        unit="h",
        origin="modelled",
        text="the same without the encoding that the heads of a backbone share",
    ),
    Column(
        name="gpu_hours",
        unit="h",
        origin="measured",
        text="device time used here times the fraction held; missing where there was no GPU",
    ),
    Column(
        name="card_energy_kwh",
        unit="kWh",
        origin="modelled",
        text="card_hours times the card's watts",
    ),
    Column(
        name="energy_kwh",
        unit="kWh",
        origin="measured",
        text="by the GPU's own counter, times the fraction held; missing where it has none",
    ),
    Column(
        name="cpu_seconds",
        unit="s",
        origin="measured",
        text="processor time of the trial's process",
    ),
    Column(
        name="wall_seconds",
        unit="s",
        origin="measured",
        text="time in the trial's epochs; its share of them where group_size is over 1",
    ),
    Column(
        name="group_size",
        unit="trials",
        origin="measured",
        text="most that shared an epoch in one pass (--together), itself included; over 1, "
        "measured_peak_mib is missing: the memory is the group's",
    ),
    Column(name="device", unit="", origin="measured", text="cpu, or the GPU's name"),
    Column(
        name="device_fraction",
        unit="",
        origin="measured",
        text="share of a GPU that the trial held; 0 without a GPU",
    ),
    Column(
        name="peak_mib",
        unit="MiB",
        origin="modelled",
        text="peak memory of training, validation and encoding at the largest batch that may be, "
        "without the context reserve",
    ),
    Column(
        name="measured_peak_mib",
        unit="MiB",
        origin="measured",
        text="most that training and validation took here (without the encoding). On a GPU by its "
        "allocator; on a CPU by the allocator's record of the largest batches, rounded as a GPU's, "
        "and the same allowance for workspaces as in peak_mib",
    ),
    Column(
        name="measured_reserved_mib",
        unit="MiB",
        origin="measured",
        text="most that a GPU's allocator held for it, its cache and gaps included: what the cap "
        "holds; missing on a CPU",
    ),
    Column(
        name="excess_mib",
        unit="MiB",
        origin="modelled",
        text="peak_mib over the card's memory less its reserve; positive is infeasible",
    ),
    Column(
        name="measured_excess_mib",
        unit="MiB",
        origin="measured",
        text="measured_peak_mib over the same; positive is infeasible, and then what was needed at "
        "least",
    ),
    Column(
        name="step_gflop",
        unit="GFLOP",
        origin="modelled",
        text="one training step at the worst batch",
    ),
    Column(
        name="trainable_parameters",
        unit="",
        origin="derived",
        text="parameters that training moves",
    ),
    Column(
        name="total_parameters", unit="", origin="derived", text="those and the frozen backbone's"
    ),
    Column(
        name="config_hash",
        unit="",
        origin="derived",
        text="the trial's identity: hash of its config",
    ),
    Column(name="seed", unit="", origin="derived", text="the trial's own seed"),
    Column(
        name="started_at",
        unit="UTC",
        origin="measured",
        text="when it was started; missing for trials that the model refused, which never were",
    ),
    Column(name="ended_at", unit="UTC", origin="measured", text="when its end was recorded"),
)

RANKING_COLUMNS = (
    Column(name="rank", unit="", origin="derived", text="place in the ranking, from 1"),
    Column(
        name="f1_per_gpu_hour",
        unit="1/h",
        origin="derived",
        text="f1 over card_hours (or over gpu_hours with --hours measured)",
    ),
    Column(
        name="f1_per_gpu_hour_marginal",
        unit="1/h",
        origin="derived",
        text="f1 over card_hours_marginal: what one head more costs, the backbone encoded already "
        "(measured: over gpu_hours, which never hold the encoding)",
    ),
    Column(
        name="f1_per_kwh",
        unit="1/kWh",
        origin="derived",
        text="f1 over card_energy_kwh (or over energy_kwh with --hours measured)",
    ),
    Column(
        name="pareto",
        unit="",
        origin="derived",
        text="no other ranked trial has at least its F1 in at most its hours and is better in one "
        "of them; missing without hours",
    ),
)

# One row a model: a head on one backbone in one mode, a scratch model, or a baseline. "Its best
# trial" is the complete one with the largest F1; of equals the one with fewer hours, then the
# earlier one.
COMPARISON_COLUMNS = (
    Column(name="model", unit="", origin="chosen", text="the head, scratch model or baseline"),
    Column(name="backbone", unit="", origin="chosen", text="the pre-trained encoder under a head"),
    Column(name="mode", unit="", origin="chosen", text="how the backbone trains"),
    Column(
        name="trial",
        unit="",
        origin="derived",
        text="number of its best trial: the complete one with the largest F1, of equals the one "
        "with fewer hours, then the earlier; missing without a complete trial, and so is what "
        "follows of it",
    ),
    Column(name="f1", unit="", origin="measured", text="the best trial's score, in [0, 1]"),
    Column(name="accuracy", unit="", origin="measured", text="the best trial's, in [0, 1]"),
    Column(name="precision", unit="", origin="measured", text="the best trial's, macro, in [0, 1]"),
    Column(name="recall", unit="", origin="measured", text="the best trial's, macro, in [0, 1]"),
    Column(
        name="trainable_parameters",
        unit="",
        origin="derived",
        text="parameters that the best trial's training moves",
    ),
    Column(name="peak_mib", unit="MiB", origin="modelled", text="the best trial's peak memory"),
    Column(
        name="card_hours",
        unit="h",
        origin="modelled",
        text="the best trial's, as if trained alone: all its epochs and the whole encoding",
    ),
    Column(
        name="gpu_hours",
        unit="h",
        origin="measured",
        text="the best trial's; missing where there was no GPU",
    ),
    Column(name="cpu_seconds", unit="s", origin="measured", text="the best trial's processor time"),
    Column(
        name="f1_per_gpu_hour",
        unit="1/h",
        origin="derived",
        text="f1 over card_hours (or over gpu_hours with --hours measured), of the best trial",
    ),
    Column(
        name="times_cheapest",
        unit="",
        origin="derived",
        text="card_hours (or gpu_hours) over the least in the table: 1 is the cheapest; within "
        "each study where the studies differ in card or corpus; missing without hours",
    ),
    Column(
        name="total_card_hours",
        unit="h",
        origin="modelled",
        text="of all its trials, pruned, failed and running ones too: every epoch paid, and the "
        "encoding once, which the heads of a backbone share (so rows add up to more than the "
        "study); 0 where none was run, missing where nothing is modelled",
    ),
    Column(
        name="total_gpu_hours",
        unit="h",
        origin="measured",
        text="gpu_hours of all its trials; missing where none ran on a GPU",
    ),
    Column(name="trials", unit="trials", origin="measured", text="all of its trials"),
    *(
        Column(name=state.value, unit="trials", origin="measured", text=f"those {told}")
        for state, told in (
            (State.RUNNING, "that have not ended"),
            (State.COMPLETE, "that are complete"),
            (State.PRUNED, "stopped at a rung"),
            (State.INFEASIBLE, "that the card could not hold"),
            (State.FAILED, "that failed"),
        )
    ),
)

# Where a study keeps this. The study is an Optuna study in a journal file in a folder of its name;
# each trial carries the following user attributes, whatever its state.
JOURNAL_NAME = "study.journal"
# What reading a journal raises, or using what it says, where it is broken or from something else.
UNREADABLE = (
    *(ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, RecursionError, OverflowError),
)
MANIFEST_KEY = "manifest"  # of the study: what was asked
CONFIG_KEY = "config"  # config_to_dict
CONFIG_HASH_KEY = "config_hash"
ROLE_KEY = "role"
FAMILY_KEY = "family"
SEED_KEY = "seed"
FOOTPRINT_KEY = "footprint"  # flat(Footprint), or null for a baseline or without a card
EPOCH_KEY = "epoch:"  # and the epoch's number: EpochReport.to_dict
OUTCOME_KEY = "outcome"  # Outcome.to_dict, set when the trial has ended
REPLICATE_KEY = "replicate"  # Replicate.to_dict; of the trials of a confirmation alone
CONFIRMS_KEY = "confirms"  # in the manifest of a confirmation: of what, and the test part's classes
EXCESS_CONSTRAINT = "card_excess_mib"  # Optuna's constraint: positive is infeasible


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended, and on what it ran."""

    state: State
    reason: str = ""
    best_epoch: int = 0  # 0 where no epoch ended
    device: str | None = None  # cpu | the GPU's name; None where it is not known, or never ran
    device_fraction: float | None = None  # share of a GPU held; 0 without one
    trainable_parameters: int | None = None  # of the model that ran
    total_parameters: int | None = None  # with the frozen backbone's
    excess_bytes: int | None = None  # over the limit, where training was measured to need more
    test: Scoring | None = None  # of a confirming trial; a search never looks at the test part

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; without a scoring where there is none."""
        values = flat(self)
        test = values.pop("test")
        return values | {"test": asdict(test)} if test else values

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Outcome":
        """The outcome that `to_dict` wrote."""
        test = stored.get("test")
        return cls(
            **{**stored, "state": State(stored["state"]), "test": Scoring(**test) if test else None}
        )

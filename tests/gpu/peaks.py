"""Section 3: the footprint's peaks beside what the allocator handed out and what it held.

Held is what the cap counts: it is in segments of 2 and 20 MiB, with gaps. At BERT-base's size the
footprint promises it; the small configs are all gaps, and tell where the tensors are counted wrong.
Whether a config fits is then tried: under a cap at the footprint's own figure, and below it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.footprint_memory import Compared, configs, decisions
from headhunt.trainables.card.cap import Cap, TooLargeError
from headhunt.trainables.card.cards import CARDS, MIB
from headhunt.trainables.card.footprint import Workload
from headhunt.trainables.card.memory import WORKSPACE_BYTES
from headhunt.trainables.notes.features import ENCODING_NOTES
from headhunt.trainables.training.loop import train
from headhunt.trainables.worker import settle

from .machine import Machine, Workspaces, gpu_machine, gpu_workspaces
from .scale import BASE, SMALL, NetConfig, Scale, large_configs
from .sections import Deadline, Promise, left_out, table

BOUND = 0.05  # of what was reserved
BELOW = 0.95  # of the footprint: a card that it says is too small
SMALL_EPOCHS, LARGE_EPOCHS = 6, 3
EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
WORKSPACE_SETTING = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


@dataclass(frozen=True, slots=True)
class Peak:
    """Of a config."""

    name: str
    modelled_bytes: int  # with the allowance for workspaces
    allocated_bytes: int
    reserved_bytes: int

    @property
    def error(self) -> float:
        """Of the model, against what was reserved."""
        return self.modelled_bytes / self.reserved_bytes - 1

    @property
    def allocated_error(self) -> float:
        """Against what was handed out."""
        return self.modelled_bytes / self.allocated_bytes - 1


@dataclass(frozen=True, slots=True)
class Tried:
    """A config under two caps."""

    name: str
    fits: bool  # at the footprint's figure
    fits_below: bool  # under less, which the footprint would refuse


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared."""

    small: Scale = SMALL
    small_configs: tuple[tuple[str, NetConfig], ...] = tuple(configs())
    large: Scale = BASE
    large_configs: tuple[tuple[str, NetConfig], ...] = tuple(large_configs(BASE.backbone))


@dataclass(frozen=True, slots=True)
class Peaks:
    """What was found."""

    plan: Plan
    small: list[Peak]
    large: list[Peak]
    tried: list[Tried]
    expandable: list[Peak] | str  # large ones under another setting of the allocator, or why not
    workspaces: Workspaces | str

    def lines(self) -> Iterator[str]:
        """See `Section`."""
        yield "### At BERT-base's size"
        yield ""
        yield from _table(self.large, {one.name: one for one in self.tried})
        yield from left_out(len(self.large), len(self.plan.large_configs) + 1)
        yield ""
        yield from self._about_segments()
        yield ""
        yield "### Workspaces of the matrix library"
        yield ""
        yield self._about_workspaces()
        yield ""
        yield "### The small configs"
        yield ""
        yield from _table(self.small, {})
        yield from left_out(len(self.small), len(self.plan.small_configs))
        yield ""
        within = sum(abs(peak.allocated_error) <= BOUND for peak in self.small)
        near = sum(abs(peak.error) <= BOUND for peak in self.small)
        yield (
            f"{within} of {len(self.small)} within {BOUND:.0%} of what was handed out, {near} of "
            "what was reserved."
        )
        yield ""
        yield "### Around a limit"
        yield ""
        yield from self._around_a_limit()

    def promises(self) -> Sequence[Promise]:
        """Of the footprint."""
        worst = max(self.large, key=lambda peak: abs(peak.error), default=None)
        over = [one.name for one in self.tried if not one.fits]
        return [
            Promise(
                f"at BERT-base's size the footprint is within {BOUND:.0%} of what was reserved",
                abs(worst.error) <= BOUND if worst else None,
                f"worst {worst.error:+.1%} ({worst.name})" if worst else "",
            ),
            Promise(
                "what the footprint says fits does fit",
                not over if self.tried else None,
                f"{len(over)} of {len(self.tried)} went over: {over}",
            ),
        ]

    def _about_segments(self) -> Iterator[str]:
        if isinstance(self.expandable, str):
            yield f"With expandable segments: not measured ({self.expandable})."
            return
        yield f"With `{EXPANDABLE['PYTORCH_CUDA_ALLOC_CONF']}` in a process of its own:"
        yield ""
        yield from _table(self.expandable, {})

    def _about_workspaces(self) -> str:
        if isinstance(self.workspaces, str):
            return f"Not measured ({self.workspaces})."
        found = self.workspaces
        return (
            f"With `CUBLAS_WORKSPACE_CONFIG=:4096:8`: {found.forward_bytes / MIB:.1f} MiB after a "
            f"product, {found.backward_bytes / MIB:.1f} MiB more after a backward pass, and "
            f"{found.passing_bytes / MIB:.1f} MiB passing with a layer that has a bias. The "
            f"allowance is {WORKSPACE_BYTES / MIB:.0f} MiB."
        )

    def _around_a_limit(self) -> Iterator[str]:
        """The table of `benchmarks.footprint_memory`, by what the allocator held."""
        rows = []
        for what, peaks in (("BERT-base's size", self.large), ("small", self.small)):
            for by in ("reserved", "allocated"):
                pairs = [(p.modelled_bytes, getattr(p, f"{by}_bytes")) for p in peaks]
                told = decisions(Compared("", *pair, *pair) for pair in pairs)
                rows.append(
                    [what, by, told.asked, told.went_over, f"{told.refused} of {told.fitted}"]
                )
        yield from table(
            ["configs", "truth", "decisions", "said to fit, went over", "refused, fitted"], rows
        )
        yield ""
        failed = sum(not one.fits for one in self.tried)
        refused = sum(one.fits_below for one in self.tried)
        yield (
            f"Tried under real caps: of {len(self.tried)}, {failed} did not train at the "
            f"footprint's own figure, and {refused} trained at {BELOW:.0%} of it, where the "
            "footprint refuses them."
        )


def _table(peaks: Sequence[Peak], tried: dict[str, Tried]) -> Iterator[str]:
    header = ["config", "modelled MiB", "allocated MiB", "reserved MiB", "error", "of allocated"]
    if tried:
        header += ["trains at the figure", f"at {BELOW:.0%} of it"]

    def words(name: str) -> list[str]:
        if not tried:
            return []
        one = tried.get(name)
        return ["yes" if fits else "no" for fits in (one.fits, one.fits_below)] if one else ["", ""]

    yield from table(
        header,
        (
            [
                peak.name,
                f"{peak.modelled_bytes / MIB:,.1f}",
                f"{peak.allocated_bytes / MIB:,.1f}",
                f"{peak.reserved_bytes / MIB:,.1f}",
                f"{peak.error:+.1%}",
                f"{peak.allocated_error:+.1%}",
                *words(peak.name),
            ]
            for peak in peaks
        ),
    )


def peaks(machine: Machine, deadline: Deadline, plan: Plan | None = None) -> Peaks:
    """Measure all of it, the promised part first."""
    plan = plan or Plan()
    try:
        workspaces: Workspaces | str = machine.apart(gpu_workspaces, environment=WORKSPACE_SETTING)
    except Exception as error:
        workspaces = f"{type(error).__name__}: {error}"
    with machine.whole():
        large = measured_all(machine, deadline, plan.large, plan.large_configs, LARGE_EPOCHS)
        if deadline.left > 0:
            large.append(encoding(machine, plan.large))
        tried: list[Tried] = []
        by_name = dict(plan.large_configs)
        for peak in large:
            if peak.name in by_name and deadline.left > 0:
                tried.append(try_caps(machine, plan.large, by_name[peak.name], peak))
    try:
        expandable: list[Peak] | str = (
            machine.apart(
                in_expandable_segments,
                plan,
                {peak.name: peak.modelled_bytes for peak in large},
                deadline.left,
                environment={**WORKSPACE_SETTING, **EXPANDABLE},
                seconds=deadline.left + 30,
            )
            if deadline.left > 0
            else "time was over"
        )
    except Exception as error:
        expandable = f"{type(error).__name__}: {error}"
    with machine.whole():
        small = measured_all(machine, deadline, plan.small, plan.small_configs, SMALL_EPOCHS)
    return Peaks(plan, small, large, tried, expandable, workspaces)


def in_expandable_segments(plan: Plan, modelled: Mapping[str, int], seconds: float) -> list[Peak]:
    """The large configs again, in a process whose allocator was set so."""
    machine, deadline = gpu_machine(), Deadline(seconds)
    limits = settle(machine.device, 1)
    found = measured_all(machine, deadline, plan.large, plan.large_configs, LARGE_EPOCHS, modelled)
    del limits
    return found


def measured_all(
    machine: Machine,
    deadline: Deadline,
    scale: Scale,
    chosen: Sequence[tuple[str, NetConfig]],
    epochs: int,
    known: Mapping[str, int] | None = None,
) -> list[Peak]:
    """The peaks of all that there is time for; `known` has modelled bytes by name."""
    scale.encoder()  # made beforehand, or a played device would count it
    footprinter = scale.footprinter(CARDS["p620"])
    found = []
    for name, config in chosen:
        if deadline.left <= 0:
            break
        modelled = (known or {}).get(name) or footprinter.training_peak_bytes(config)
        train_once(machine, scale, config, epochs, limit_bytes=None)
        found.append(Peak(name, modelled, *machine.functions.peak_bytes()))
    return found


def encoding(machine: Machine, scale: Scale) -> Peak:
    """A forward pass over the notes of a frozen backbone."""
    workload = Workload(np.full(8, scale.tokens), np.arange(4), np.arange(4, 8))
    frozen = large_configs(scale.backbone)[0][1]
    footprinter = scale.footprinter(CARDS["p620"], workload)
    modelled = footprinter.encoding_peak_bytes(frozen.backbone)
    Cap(machine.functions.total_bytes(), machine.functions).begin()
    with machine.running(), torch.inference_mode():
        model = scale.encoder().to(machine.device).eval()
        shape = ENCODING_NOTES, scale.tokens
        ids = torch.full(shape, 5, device=machine.device)
        mask = torch.ones(shape, dtype=torch.int64, device=machine.device)
        mask[0, -1] = 0
        for _ in range(2):
            model(input_ids=ids, attention_mask=mask)
    found = machine.functions.peak_bytes()
    return Peak("encoding, 8 notes", modelled, *found)


def try_caps(machine: Machine, scale: Scale, config: NetConfig, peak: Peak) -> Tried:
    """Train under the footprint's figure, and under less."""
    fits = [
        train_once(machine, scale, config, 1, limit_bytes=int(share * peak.modelled_bytes))
        for share in (1.0, BELOW)
    ]
    return Tried(peak.name, *fits)


def train_once(
    machine: Machine, scale: Scale, config: NetConfig, epochs: int, limit_bytes: int | None
) -> bool:
    """Train on notes up to the longest; whether it stayed under its limit."""
    limit = limit_bytes or machine.functions.total_bytes()
    cap = Cap(limit, machine.functions)
    cap.begin()
    task = scale.task(config, scale.worst_workload())
    try:
        with machine.running():
            for _ in train(
                lambda: scale.network(config),
                task,
                config.optimisation,
                scale.settings(epochs),
                seed=0,
                device=machine.device,
            ):
                pass
    except Exception as error:
        verdict = cap.judge(error)
        if not isinstance(verdict, TooLargeError):
            raise
        return False
    return True

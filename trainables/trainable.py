"""The Ray Tune Trainable around a trial: one step an epoch, and a worker that stays warm.

It turns assignments into steps and steps into results, both as JSON text, and nothing else: what a
trial does stands in `runner`, which needs no Ray.
"""

import json
import os
import socket
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import ray
import torch
from ray.tune import Trainable

from ..spaces.record import EpochReport, Outcome, State
from .assignment import Assignment, Materials
from .card.cap import ShortOfMemoryError, cap_of
from .group import ApartWarning, Rounds, run_group
from .notes.corpus import Corpus
from .runner import crash_reason
from .steps import Step
from .training.states import storage_problem
from .worker import settle

# Keys of Tune's config, and of its results.
ASSIGNMENTS, ENVIRONMENT = "assignments", "environment"
STEPS, HELD, WARNING = "steps", "held", "warning"
# Set by tests whose Ray counts GPUs that nobody has: their trials train on the CPU, and hold none.
PLAYED_GPUS = "HEADHUNT_PLAYED_GPUS"


class NoGpuError(RuntimeError):
    """The worker holds a share of a GPU, and CUDA sees none."""


class WorkerError(RuntimeError):
    """A worker failed beside its trials: by type and place."""


P = ParamSpec("P")
R = TypeVar("R")


def _quotes_no_note(plain: Callable[P, R]) -> Callable[P, R]:
    """What the method raises is told without its words: Ray writes them to its logs and files."""

    @wraps(plain)
    def guarded(*args: P.args, **named: P.kwargs) -> R:
        try:
            return plain(*args, **named)
        except (ShortOfMemoryError, NoGpuError):  # their words are ours
            raise
        except Exception as error:
            why = crash_reason(error)
        raise WorkerError(why)  # not in the handler: its error would go with this one

    return guarded


class HeadhuntTrainable(Trainable):
    """Runs groups of assignments, most often of one, one after the other in the same process."""

    @_quotes_no_note
    def setup(self, config: dict[str, Any], **shared: Any) -> None:
        """Take what all trials of the study share, and the first assignments.

        `shared` has what Tune's `with_parameters` brings: `corpus`, `materials`, and `courier`, a
        function that gives the materials as they are on this node; None where they are so already.
        """
        corpus: Corpus = shared["corpus"]
        materials: Materials = shared["materials"]
        courier: Callable[[Materials], Materials] | None = shared.get("courier")
        self._problem = ""
        try:
            materials = courier(materials) if courier else materials
        except OSError as error:
            found = storage_problem(error, "the copies of the features") or str(error)
            self._problem = f"on the node {socket.gethostname()}, {found}"
        self._corpus, self._materials = corpus, materials
        os.environ.update(json.loads(config.get(ENVIRONMENT, "{}")))  # CUDA reads it as it starts
        resources = self.trial_resources.required_resources if self.trial_resources else {}
        cpus = max(1, int(resources.get("CPU", 1)))
        share = float(resources.get("GPU", 0.0))
        has_gpu = bool(share and ray.get_gpu_ids() and torch.cuda.is_available())
        self._lacks_gpu = bool(share) and not has_gpu and PLAYED_GPUS not in os.environ
        self._fraction = share if has_gpu else 0.0
        self._device = torch.device("cuda" if has_gpu else "cpu")
        self._limits = settle(self._device, cpus)
        self._cap = cap_of(self._device, materials.limit_bytes)
        self._begin(config)

    @_quotes_no_note
    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next assignments on this warm worker."""
        self._begin(new_config)
        return True

    @_quotes_no_note
    def step(self) -> dict[str, Any]:
        """One epoch, of each trial of the group.

        Never `done`: Tune would end the trial without showing its last result to the scheduler.
        """
        stopped, self._stopped = self._stopped, None
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", ApartWarning)
            steps = self._rounds.send(stopped)
        return {
            STEPS: steps_to_json(steps),
            HELD: self._held(),
            WARNING: "; ".join(str(each.message) for each in warned),
        }

    def leave_out(self, numbers: list[int]) -> None:
        """These trials are stopped: the next step is without them."""
        self._stopped = numbers

    def _held(self) -> str:
        """What this worker holds of its device: the driver counts what others hold."""
        if self._device.type != "cuda":
            return ""
        uuid = str(torch.cuda.get_device_properties(self._device).uuid)
        allocated = torch.cuda.memory_reserved(self._device)
        return json.dumps({"device": uuid, "allocated_bytes": allocated})

    def _begin(self, config: dict[str, Any]) -> None:
        self._rounds: Rounds = _nothing()  # lets go of the trials before
        self._stopped: list[int] | None = None
        group = [Assignment.from_json(text) for text in json.loads(config[ASSIGNMENTS])]
        if self._problem:
            self._rounds = _without_materials(group, self._problem)
            return
        run = _without_gpu if self._lacks_gpu else run_group
        self._rounds = run(
            group,
            self._corpus,
            self._materials,
            device=self._device,
            device_fraction=self._fraction,
            cap=self._cap,
        )


def _nothing() -> Rounds:
    yield from ()


def _without_materials(group: Sequence[Assignment], problem: str) -> Rounds:
    """Trials for which nothing could be brought to their node."""
    lost = Step(None, Outcome(state=State.RUNNING, reason=problem), problem)
    yield {one.number: lost for one in group}


def _without_gpu(group: Sequence[Assignment], *unused: Any, **unused_too: Any) -> Rounds:
    """Trials that their worker cannot run: on a CPU their hours would be no GPU hours.

    Another process may see the device again, so this one ends and they are tried again.
    """
    del unused, unused_too
    why = "it was given a share of a GPU of its node, and CUDA sees no GPU there"
    yield {one.number: Step(None, Outcome(state=State.RUNNING, reason=why)) for one in group}
    raise NoGpuError(why)


def steps_to_json(steps: Mapping[int, Step]) -> str:
    """Steps by trial as text; `steps_from_json` is its inverse."""
    return json.dumps(
        {
            number: {
                "report": step.report.to_dict() if step.report else None,
                "outcome": step.outcome.to_dict(),
                "problem": step.problem,
            }
            for number, step in steps.items()
        }
    )


def steps_from_json(text: str) -> dict[int, Step]:
    """The steps that `steps_to_json` wrote."""
    return {int(number): _step(stored) for number, stored in json.loads(text).items()}


def _step(stored: dict[str, Any]) -> Step:
    return Step(
        EpochReport(**stored["report"]) if stored["report"] else None,
        Outcome.from_dict(stored["outcome"]),
        stored["problem"],
    )

"""The Ray Tune Trainable around a trial: one step an epoch, and a worker that stays warm.

It turns assignments into steps and steps into results, both as JSON text, and nothing else: what a
trial does stands in `runner`, which needs no Ray.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import ray
import torch
from ray.tune import Trainable

from ..spaces.record import EpochReport, Outcome, State
from .assignment import Assignment, Materials
from .card.cap import cap_of
from .notes.corpus import Corpus
from .runner import run_trial
from .steps import Step
from .worker import settle

# Keys of Tune's config, and of its results.
ASSIGNMENT, ENVIRONMENT = "assignment", "environment"
STEP, HELD = "step", "held"
# Set by tests whose Ray counts GPUs that nobody has: their trials train on the CPU, and hold none.
PLAYED_GPUS = "HEADHUNT_PLAYED_GPUS"


class NoGpuError(RuntimeError):
    """The worker holds a share of a GPU, and CUDA sees none."""


class HeadhuntTrainable(Trainable):
    """Runs assignments one after the other in the same process."""

    def setup(self, config: dict[str, Any], **shared: Any) -> None:
        """Take what all trials of the study share, and the first assignment.

        `shared` has what Tune's `with_parameters` brings: `corpus` and `materials`.
        """
        corpus: Corpus = shared["corpus"]
        materials: Materials = shared["materials"]
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

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin the next assignment on this warm worker."""
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch.

        Never `done`: Tune would end the trial without showing its last result to the scheduler.
        """
        return {STEP: step_to_json(next(self._steps)), HELD: self._held()}

    def _held(self) -> str:
        """What this worker holds of its device: the driver counts what others hold."""
        if self._device.type != "cuda":
            return ""
        uuid = str(torch.cuda.get_device_properties(self._device).uuid)
        allocated = torch.cuda.memory_reserved(self._device)
        return json.dumps({"device": uuid, "allocated_bytes": allocated})

    def _begin(self, config: dict[str, Any]) -> None:
        self._steps: Iterator[Step] = iter(())  # lets go of the trial before
        if self._lacks_gpu:
            self._steps = _without_gpu()
            return
        self._steps = run_trial(
            Assignment.from_json(config[ASSIGNMENT]),
            self._corpus,
            self._materials,
            device=self._device,
            device_fraction=self._fraction,
            cap=self._cap,
        )


def _without_gpu() -> Iterator[Step]:
    """A trial that its worker cannot run: on a CPU its hours would be no GPU hours.

    Another process may see the device again, so this one ends and the trial is tried again.
    """
    why = "it was given a share of a GPU of its node, and CUDA sees no GPU there"
    yield Step(None, Outcome(state=State.RUNNING, reason=why))
    raise NoGpuError(why)


def step_to_json(step: Step) -> str:
    """A step as text; `step_from_json` is its inverse."""
    return json.dumps(
        {
            "report": step.report.to_dict() if step.report else None,
            "outcome": asdict(step.outcome),
        }
    )


def step_from_json(text: str) -> Step:
    """The step that `step_to_json` wrote."""
    stored = json.loads(text)
    outcome = stored["outcome"]
    return Step(
        EpochReport(**stored["report"]) if stored["report"] else None,
        Outcome(**{**outcome, "state": State(outcome["state"])}),
    )

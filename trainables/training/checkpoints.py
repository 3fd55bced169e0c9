"""What a trial goes on from, as it stands in a store of states."""

import json
from contextlib import suppress
from dataclasses import dataclass

from torch import Tensor

from ...spaces.record import EpochReport
from .states import Kind, Saved, StateStore


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Enough to continue as if never stopped: dropout and order follow from (seed, epoch)."""

    model: dict[str, Tensor]
    optimiser: dict[str, Tensor]  # "parameter.state" -> tensor
    reports: tuple[EpochReport, ...]  # one an epoch so far
    config_hash: str  # of the config that it belongs to
    backbone: str = ""  # identity of the one whose frozen part is not in `model`


def save_checkpoint(states: StateStore, trial: int, checkpoint: Checkpoint) -> None:
    """Replace the trial's checkpoint by this one.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {f"model:{name}": t for name, t in checkpoint.model.items()}
    tensors |= {f"optimiser:{name}": t for name, t in checkpoint.optimiser.items()}
    metadata = {
        "reports": json.dumps([report.to_dict() for report in checkpoint.reports]),
        "config_hash": checkpoint.config_hash,
        "backbone": checkpoint.backbone,
    }
    states.put(trial, Kind.CHECKPOINT, Saved(len(checkpoint.reports), tensors, metadata))


def load_checkpoint(
    states: StateStore, trial: int, config_hash: str, backbone: str = ""
) -> Checkpoint | None:
    """The trial's checkpoint; None where none can be read for this config on this backbone."""
    for saved in states.find(trial, Kind.CHECKPOINT):
        of = saved.metadata.get("config_hash"), saved.metadata.get("backbone", "")
        if of == (config_hash, backbone):
            with suppress(KeyError, TypeError, ValueError):  # it lies: the trial begins anew
                return _checkpoint(saved)
    return None


def _checkpoint(saved: Saved) -> Checkpoint:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}}
    for key, tensor in saved.tensors.items():
        part, name = key.split(":", 1)
        parts[part][name] = tensor
    return Checkpoint(
        model=parts["model"],
        optimiser=parts["optimiser"],
        reports=tuple(EpochReport(**r) for r in json.loads(saved.metadata["reports"])),
        config_hash=saved.metadata["config_hash"],
        backbone=saved.metadata.get("backbone", ""),
    )

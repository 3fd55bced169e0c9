"""A trial's state on disk: safetensors, written aside and renamed, never pickled.

`checkpoint.safetensors` is what a trial needs to go on exactly; `best.safetensors` holds the
weights of its best epoch. Both live in the trial's own folder, which only its owner may read: they
were learned from notes, and a model may give back what it has learned.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...spaces.record import EpochReport
from ..files import own_file, own_folder

CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Enough to continue as if never stopped: dropout and order follow from (seed, epoch)."""

    model: dict[str, Tensor]
    optimiser: dict[str, Tensor]  # "parameter.state" -> tensor
    reports: tuple[EpochReport, ...]  # one an epoch so far
    config_hash: str  # of the config that it belongs to
    backbone: str = ""  # identity of the one whose frozen part is not in `model`


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    aside = own_folder(path.parent) / f".{path.name}.{os.getpid()}"
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    try:
        save_file(stored, own_file(aside), metadata)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the trial's checkpoint by this one."""
    tensors = {f"model:{name}": t for name, t in checkpoint.model.items()}
    tensors |= {f"optimiser:{name}": t for name, t in checkpoint.optimiser.items()}
    metadata = {
        "reports": json.dumps([report.to_dict() for report in checkpoint.reports]),
        "config_hash": checkpoint.config_hash,
        "backbone": checkpoint.backbone,
    }
    write_tensors(folder / CHECKPOINT, tensors, metadata)


def load_checkpoint(folder: Path, config_hash: str, backbone: str = "") -> Checkpoint | None:
    """The trial's checkpoint; None where none can be read for this config on this backbone."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}}
    try:
        with safe_open(folder / CHECKPOINT, framework="pt") as stored:
            metadata = stored.metadata() or {}
            for key in stored.keys():  # noqa: SIM118  (a safetensors handle, not a dictionary)
                part, name = key.split(":", 1)
                parts[part][name] = stored.get_tensor(key)
        if metadata.get("config_hash") != config_hash or metadata.get("backbone", "") != backbone:
            return None
        reports = tuple(EpochReport(**report) for report in json.loads(metadata["reports"]))
    except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
        return None  # the trial begins anew: what it then tells is the same
    return Checkpoint(parts["model"], parts["optimiser"], reports, config_hash, backbone)


def remove_checkpoint(folder: Path) -> None:
    """Forget the state of a trial that has ended."""
    _remove(folder, CHECKPOINT)


def remove_weights(folder: Path) -> None:
    """Forget the weights of a trial that is no longer among the best."""
    _remove(folder, BEST)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _remove(folder: Path, name: str) -> None:
    """The file, and what a writer that was killed left of it."""
    if not folder.is_dir():
        return  # a search for the rest would take longer
    for file in (folder / name, *folder.glob(f".{name}.*")):
        file.unlink(missing_ok=True)

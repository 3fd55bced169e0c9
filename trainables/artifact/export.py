"""Write a trained model as a folder of data: aside, checked, and renamed whole.

Nothing half-written is ever under the folder's name. What the folder must not hold is left to its
makers: no path of this machine, no note. A backbone is copied where asked alone.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from ...spaces.configs import Config, HeadConfig
from ...spaces.links import refuse_link
from ..files import close_to_others, own_file, own_folder
from ..models.backbones import copy_backbone
from .calibration import Calibration
from .description import (
    BACKBONE,
    CALIBRATION,
    DESCRIPTION,
    MODEL_CARD,
    TOKENIZER,
    VOCABULARY,
    WEIGHTS,
    ArtifactError,
    BackboneReference,
    Description,
    is_whole_encoder,
)
from .model_card import Confirmed, model_card
from .terms import Terms

CONFIG = "config.json"  # of an encoder
OURS = {DESCRIPTION, WEIGHTS, TOKENIZER, VOCABULARY, CALIBRATION, MODEL_CARD, BACKBONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What there is to export."""

    config: Config
    labels: tuple[str, ...]
    origin: Mapping[str, Any]  # of what notes, how good, at what cost: for the description
    weights: Mapping[str, Tensor] | None = None  # of a network: what training has moved
    tokenizer: Tokenizer | None = None  # of a network
    max_tokens: int = 0
    precision: str = "fp32"
    backbone: BackboneReference | None = None
    layers: Mapping[str, np.ndarray] | None = None  # of a baseline
    terms: Terms | None = None  # of a baseline


def write_artifact(
    folder: Path,
    trained: Trained,
    calibration: Calibration,
    *,
    confirmed: Sequence[Confirmed] = (),
    copied_from: str = "",
    cache: Path | None = None,
    overwrite: bool = False,
    check: Callable[[Path], None] = lambda _: None,
) -> Description:
    """Write the folder, for its owner alone.

    Args:
        folder: that is made.
        trained: the model.
        calibration: fitted to it.
        confirmed: its metrics on test, if there are some.
        copied_from: the backbone, by its name here, to copy it; "": by reference.
        cache: where a backbone whose weights are pickled is rewritten.
        overwrite: an exported model that is there.
        check: is shown the whole folder before it has its name, and may raise.

    Raises:
        ArtifactError: the folder is there, and may not be replaced.
        OSError: it cannot be written.
    """
    refuse_taken(folder, overwrite=overwrite)
    with _aside(folder) as aside:
        description = _description(trained, copied=bool(copied_from))
        for name, write in _writers(trained).items():
            write(own_file(aside / name))
            description = description.with_file(aside, name)
        for name in _backbone_files(trained, aside, copied_from, cache):
            description = description.with_file(aside, name)
        texts = {
            DESCRIPTION: description.to_json(),
            CALIBRATION: calibration.to_json(),
            MODEL_CARD: model_card(description, calibration, confirmed),
        }
        for name, text in texts.items():
            own_file(aside / name).write_text(text, encoding="utf-8")
        close_to_others(aside)
        check(aside)
        refuse_taken(folder, overwrite=overwrite)  # made since
        _put(aside, folder)
    return description


def refuse_taken(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is there, unless it is an exported model that may be replaced.

    Raises:
        ArtifactError: it is there.
        OSError: it is a symbolic link.
    """
    refuse_link(folder)
    if not folder.exists():
        return
    if not overwrite:
        raise ArtifactError(f"{folder} exists: name another folder, or replace it with --overwrite")
    if not (folder / DESCRIPTION).is_file():
        raise ArtifactError(
            f"{folder} holds no exported model, so --overwrite does not remove it: name another one"
        )
    if others := sorted(path.name for path in folder.iterdir() if path.name not in OURS):
        raise ArtifactError(
            f"{folder} also holds {others[0]!r}, which no export has written, so --overwrite does "
            "not remove it: move it, or name another folder"
        )


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A hidden folder beside it, gone at the end whatever happens; of a killed export, too."""
    aside = folder.parent / f".{folder.name}.part"
    refuse_link(aside)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        yield own_folder(aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(aside: Path, folder: Path) -> None:
    before = folder.parent / f".{folder.name}.before"
    refuse_link(before)
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        folder.rename(before)
    aside.rename(folder)
    shutil.rmtree(before, ignore_errors=True)


def _description(trained: Trained, *, copied: bool) -> Description:
    config, backbone = trained.config, trained.backbone
    if isinstance(config, HeadConfig) and backbone:
        config = replace(config, backbone=backbone.name)  # not as it was found on this machine
        backbone = replace(backbone, copied=copied)
    return Description(
        config=config,
        labels=trained.labels,
        max_tokens=trained.max_tokens,
        precision=trained.precision,
        backbone=backbone,
        origin=trained.origin,
    )


def _writers(trained: Trained) -> dict[str, Callable[[Path], object]]:
    """What fills each file, which is empty and its owner's alone."""
    layers, terms = trained.layers, trained.terms
    if layers is not None and terms is not None:
        return {
            WEIGHTS: lambda file: save_arrays(dict(layers), file),
            VOCABULARY: lambda file: file.write_text(terms.to_json(), encoding="utf-8"),
        }
    weights, tokenizer = trained.weights, trained.tokenizer
    if weights is None or tokenizer is None:
        raise ValueError(f"a network has weights and a tokenizer; got {type(trained.config)}")
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return {
        WEIGHTS: lambda file: save_file(stored, file, {"format": "pt"}),
        TOKENIZER: lambda file: file.write_text(tokenizer.to_str(), encoding="utf-8"),
    }


def _backbone_files(
    trained: Trained, aside: Path, copied_from: str, cache: Path | None
) -> list[str]:
    """Copy what the model needs of its backbone; the names of the files."""
    if not copied_from or cache is None:
        return []
    target = own_folder(aside / BACKBONE)
    whole = is_whole_encoder(trained.config)  # its numbers are in the weights: its shape is left
    copy_backbone(copied_from, target, cache, wanted=(CONFIG,) if whole else None)
    return sorted(f"{BACKBONE}/{file.name}" for file in target.iterdir())

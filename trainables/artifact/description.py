"""What an exported model says of itself, `headhunt.json`: written, and read with suspicion.

The folder may come from elsewhere. Nothing in it is executed, none of its names leaves it, each
file has the size and the hash that stand here, and a config is one that a search could have tried.
A hash beside a file shows damage and not an intent: whoever can write both can forge both.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...spaces.configs import (
    BaselineConfig,
    Config,
    HeadConfig,
    Mode,
    config_from_dict,
    config_to_dict,
)
from ...spaces.ranges import config_problems
from ...spaces.record import UNREADABLE
from ..models.backbones import ADAPTER

DESCRIPTION = "headhunt.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
VOCABULARY = "vocabulary.json"
CALIBRATION = "calibration.json"
MODEL_CARD = "README.md"
BACKBONE = "backbone"  # a folder
ENCODER_SUFFIXES = (".json", ".txt", ".model", ".safetensors")  # of the files in it
FORMAT, VERSION = "headhunt model", 1
MIB = 2**20
MOST_DESCRIPTION, MOST_JSON, MOST_WEIGHTS = 16 * MIB, 512 * MIB, 64 * 1024 * MIB  # bytes
MOST_LABELS, LONGEST_LABEL = 100_000, 100
MOST_TOKENS = 1_000_000
MOST_FILES = 100  # of a copied backbone
PRECISIONS = ("fp32", "bf16")


class ArtifactError(ValueError):
    """A folder is no exported model that can be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneReference:
    """Which encoder a model stands on."""

    name: str  # its short name; no path
    identity: str  # hash of its files
    hub_id: str = ""  # on the Hugging Face hub
    revision: str = ""  # commit there
    package: str = ""  # of Python, that brings it
    copied: bool = False  # whether its files are in the folder


@dataclass(frozen=True, slots=True)
class FileFacts:
    """By which a file is known."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """An exported model."""

    config: Config  # its backbone by the reference's name
    labels: tuple[str, ...]
    max_tokens: int = 0  # of a note, special tokens included; 0: a baseline reads all
    precision: str = "fp32"  # of a frozen backbone
    backbone: BackboneReference | None = None
    files: Mapping[str, FileFacts] = field(default_factory=dict)  # all but this, card, calibration
    origin: Mapping[str, Any] = field(default_factory=dict)  # of what, how good, at what cost

    def to_json(self) -> str:
        """As the file holds it."""
        stored = {
            "format": FORMAT,
            "version": VERSION,
            "config": config_to_dict(self.config),
            "labels": list(self.labels),
            "max_tokens": self.max_tokens,
            "precision": self.precision,
            "backbone": asdict(self.backbone) if self.backbone else None,
            "files": {name: asdict(facts) for name, facts in self.files.items()},
            "origin": self.origin,
        }
        return json.dumps(stored, indent=1, ensure_ascii=False) + "\n"

    def with_file(self, folder: Path, name: str) -> "Description":
        """Itself, with what the file in the folder is known by."""
        return replace(self, files={**self.files, name: facts_of(folder / name)})


def is_whole_encoder(config: Config) -> bool:
    """Whether the weights hold all of the encoder, so that none is needed beside them."""
    return isinstance(config, HeadConfig) and config.mode is Mode.FULL


def facts_of(file: Path) -> FileFacts:
    """Of a file as it is."""
    with file.open("rb") as stream:
        return FileFacts(file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def read_description(folder: Path) -> Description:
    """What stands in the folder, once every file has been found to be what it says.

    Raises:
        ArtifactError: it is no exported model, or damaged, or cannot be true.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is no folder; give one that `headhunt export` wrote")
    stored = read_json(folder, DESCRIPTION, MOST_DESCRIPTION)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        raise ArtifactError(f"{folder} holds no exported model: {DESCRIPTION} is something else")
    if stored.get("version") != VERSION:
        raise ArtifactError(
            f"{folder} was exported by another version of headhunt (format "
            f"{str(stored.get('version'))[:20]!r}, here {VERSION}): use that one, or export anew"
        )
    try:
        description = _description(stored)
        _check(description)
    except UNREADABLE as error:
        why = str(error) if type(error) is ArtifactError else type(error).__name__
        raise ArtifactError(
            f"{folder / DESCRIPTION} is damaged or forged ({why}): export the model anew"
        ) from None
    for name, facts in description.files.items():
        _check_file(folder, name, facts)
    _refuse_more(folder, description)
    return description


def read_json(folder: Path, name: str, most_bytes: int) -> Any:
    """A JSON file of the folder.

    Raises:
        ArtifactError: it is not there, too large, a link, or no JSON.
    """
    file = plain_file(folder, name)
    if file.stat().st_size > most_bytes:
        raise ArtifactError(f"{file} is larger than {most_bytes:,} bytes, which it never is")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ArtifactError(f"{file} is damaged: it is no JSON; export the model anew") from None


def plain_file(folder: Path, name: str) -> Path:
    """The file in the folder, which no link leads out of.

    Raises:
        ArtifactError: there is no such file.
    """
    file = folder / name
    linked = file.is_symlink() or any(
        parent.is_symlink() for parent in file.parents if folder in parent.parents
    )
    if linked or not file.is_file():
        raise ArtifactError(
            f"{folder} is not whole: {name} is {'a symbolic link' if linked else 'missing'}; "
            "export the model anew, or copy all of it"
        )
    return file


def _description(stored: Mapping[str, Any]) -> Description:
    backbone = stored["backbone"]
    return Description(
        config=config_from_dict(stored["config"]),
        labels=tuple(stored["labels"]),
        max_tokens=stored["max_tokens"],
        precision=stored["precision"],
        backbone=BackboneReference(**backbone) if backbone else None,
        files={name: FileFacts(**facts) for name, facts in stored["files"].items()},
        origin=dict(stored["origin"]),
    )


def _check(description: Description) -> None:
    """Refuse what no export writes.

    Raises:
        ArtifactError: why.
    """
    config, labels, backbone = description.config, description.labels, description.backbone
    if problems := config_problems(config):
        raise ArtifactError(problems[0])
    if not 2 <= len(labels) <= MOST_LABELS or len(set(labels)) != len(labels):
        raise ArtifactError(f"it names {len(labels)} labels")
    if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_LABEL for name in labels):
        raise ArtifactError("a label is a text of at most 100 characters")
    least = 0 if isinstance(config, BaselineConfig) else 1
    if type(description.max_tokens) is not int or not (
        least <= description.max_tokens <= MOST_TOKENS
    ):
        raise ArtifactError("max_tokens is out of range")
    if not isinstance(description.origin["corpus"]["digest"], str):
        raise ArtifactError("it names no corpus")
    if description.precision not in PRECISIONS:
        raise ArtifactError("the precision is unknown")
    if isinstance(config, HeadConfig) is (backbone is None):
        raise ArtifactError("a head has a backbone, and nothing else has")
    if backbone and not all(isinstance(v, str | bool) for v in asdict(backbone).values()):
        raise ArtifactError("the backbone's reference is no text")
    if backbone and any(mark in backbone.name for mark in "/\\"):
        raise ArtifactError("the backbone's name is a path")
    _check_names(description)


def _check_names(description: Description) -> None:
    """The files are those that such a model has, by their plain names."""
    wanted = {WEIGHTS, *_own_files(description.config)}
    copied = {name for name in description.files if name.startswith(f"{BACKBONE}/")}
    inside = [name.removeprefix(f"{BACKBONE}/") for name in copied]
    plain = all(
        "/" not in name and "\\" not in name and not name.startswith((".", ADAPTER))
        for name in inside
    ) and all(name.endswith(ENCODER_SUFFIXES) for name in inside)
    if description.files.keys() - copied != wanted or not plain or len(copied) > MOST_FILES:
        raise ArtifactError(f"it must name the files {sorted(wanted)} and no others")
    has_folder = description.backbone is not None and (
        description.backbone.copied or is_whole_encoder(description.config)
    )
    if bool(copied) is not has_folder or (copied and f"{BACKBONE}/config.json" not in copied):
        raise ArtifactError("the files of its backbone are not those that it speaks of")
    for facts in description.files.values():
        if type(facts.bytes) is not int or not 0 < facts.bytes <= MOST_WEIGHTS:
            raise ArtifactError("a file's size is out of range")


def _own_files(config: Config) -> tuple[str, ...]:
    return (VOCABULARY,) if isinstance(config, BaselineConfig) else (TOKENIZER,)


def _check_file(folder: Path, name: str, facts: FileFacts) -> None:
    file = plain_file(folder, name)
    limit = MOST_WEIGHTS if file.suffix == ".safetensors" else MOST_JSON
    size = file.stat().st_size
    if size != facts.bytes or size > limit or facts_of(file) != facts:
        raise ArtifactError(
            f"{file} is damaged or was changed: it is not the file that was exported; export the "
            "model anew, or copy all of it"
        )


def _refuse_more(folder: Path, description: Description) -> None:
    """What stands beside an encoder is read by transformers: it must be ours."""
    inside = folder / BACKBONE
    found = {f"{BACKBONE}/{file.name}" for file in inside.iterdir()} if inside.is_dir() else set()
    if more := found - description.files.keys():
        raise ArtifactError(
            f"{inside} holds {len(more)} files that were not exported: remove them, or export the "
            "model anew"
        )

"""Where the tensors of trials are kept: safetensors, written aside and renamed, never pickled.

A file is named after the trial and the epoch whose state it holds. A state follows from the trial's
seed, so whoever writes the same name writes the same state: a process that should be dead by now,
of a search that was killed, can add an older epoch's file, and can neither replace nor remove a
later one's.
"""

import errno
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import fsspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from ..files import own_file, own_folder

CHECKSUM = "crc32"
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


class Kind(StrEnum):
    """What of a trial is kept."""

    CHECKPOINT = "checkpoint"  # of its last epoch: what it goes on from
    BEST = "best"  # the weights of its best epoch


@dataclass(frozen=True, slots=True)
class Saved:
    """Tensors by name, with what is said of them."""

    epoch: int
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


class StateStore(Protocol):
    """A store of trials' states."""

    def put(self, trial: int, kind: Kind, saved: Saved) -> None:
        """Keep the state, whole or not at all, in the place of those of earlier epochs.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def find(self, trial: int, kind: Kind) -> Iterator[Saved]:
        """The whole states that there are, of the latest epoch first; a torn one is passed over."""
        ...

    def remove(self, trial: int, kind: Kind) -> None:
        """Forget the states, and what a writer that was killed left of them."""
        ...


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A store in a folder of this machine, or one that machines share; in it a folder a trial."""

    root: Path

    def put(self, trial: int, kind: Kind, saved: Saved) -> None:
        """See `StateStore`."""
        folder = own_folder(self.folder(trial))
        write_saved(folder / file_name(kind, saved.epoch), saved)
        for file in folder.glob(f"{kind}-*.safetensors"):
            if epoch_of(file.name) < saved.epoch:
                file.unlink(missing_ok=True)

    def find(self, trial: int, kind: Kind) -> Iterator[Saved]:
        """See `StateStore`."""
        files = self.folder(trial).glob(f"{kind}-*.safetensors")
        for file in sorted(files, key=lambda file: epoch_of(file.name), reverse=True):
            saved = read_saved(file)
            if saved is not None:
                yield saved

    def remove(self, trial: int, kind: Kind) -> None:
        """See `StateStore`."""
        folder = self.folder(trial)
        if not folder.is_dir() or folder.is_symlink():
            return  # a search for the rest would take longer
        for file in (*folder.glob(f"{kind}-*"), *folder.glob(".*")):
            file.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()

    def folder(self, trial: int) -> Path:
        """Of one trial."""
        return self.root / f"{trial:05d}"


@dataclass(frozen=True, slots=True)
class DistantFolder:
    """States below an fsspec URL, as of an object store.

    A file is written in one go, not aside: it never takes the place of another state, and a torn
    one is told by its checksum.
    """

    url: str

    def put(self, trial: int, kind: Kind, saved: Saved) -> None:
        """See `StateStore`."""
        files, root = self._open(trial)
        files.makedirs(root, exist_ok=True)
        files.pipe_file(f"{root}/{file_name(kind, saved.epoch)}", to_bytes(saved))
        for name in self._names(trial, kind):
            if epoch_of(name) < saved.epoch:
                files.rm_file(f"{root}/{name}")

    def find(self, trial: int, kind: Kind) -> Iterator[Saved]:
        """See `StateStore`."""
        files, root = self._open(trial)
        for name in sorted(self._names(trial, kind), key=epoch_of, reverse=True):
            contents: Any = files.cat_file(f"{root}/{name}")
            saved = from_bytes(contents, epoch_of(name))
            if saved is not None:
                yield saved

    def remove(self, trial: int, kind: Kind) -> None:
        """See `StateStore`."""
        files, root = self._open(trial)
        for name in self._names(trial, kind):
            files.rm_file(f"{root}/{name}")
        with suppress(OSError):  # an object store has no folders
            if not files.ls(root):
                files.rmdir(root)

    def _open(self, trial: int) -> tuple[fsspec.AbstractFileSystem, str]:
        files, root = fsspec.url_to_fs(self.url)
        return files, f"{root.rstrip('/')}/{trial:05d}"

    def _names(self, trial: int, kind: Kind) -> list[str]:
        files, root = self._open(trial)
        files.invalidate_cache()  # others write there as well
        try:
            found = files.ls(root, detail=False)
        except FileNotFoundError:
            return []
        names = [str(path).rpartition("/")[2] for path in found]
        return [name for name in names if name.startswith(f"{kind}-") and epoch_of(name) >= 0]


def state_store(place: str, study: str) -> StateStore:
    """A study's store in a folder, or below an fsspec URL.

    Raises:
        ValueError: nothing is known of the URL's protocol.
        ImportError: what speaks the protocol is not installed.
    """
    if "://" not in place:
        return StateFolder(Path(place).resolve() / study)
    fsspec.url_to_fs(place)
    return DistantFolder(f"{place.rstrip('/')}/{study}")


def file_name(kind: Kind, epoch: int) -> str:
    """Of a state.

    >>> file_name(Kind.BEST, 7)
    'best-0007.safetensors'
    """
    return f"{kind}-{epoch:04d}.safetensors"


def epoch_of(name: str) -> int:
    """Of the state with this file name; -1 of what is none."""
    digits = name.partition("-")[2].partition(".")[0]
    return int(digits) if digits.isdecimal() else -1


def write_saved(path: Path, saved: Saved) -> None:
    """Write a file whole or not at all, for its owner alone.

    It was learned from notes, and a model may give back what it has learned.

    Raises:
        OSError: it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    stored = {name: t.detach().cpu().contiguous() for name, t in saved.tensors.items()}
    try:
        save_file(stored, own_file(aside), {**saved.metadata, CHECKSUM: _checksum(stored)})
        aside.replace(path)
    except SafetensorError as error:
        if system := _SYSTEM_ERROR.search(str(error)):
            number = int(system.group(1))
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        aside.unlink(missing_ok=True)


def to_bytes(saved: Saved) -> bytes:
    """A file's contents."""
    stored = {name: t.detach().cpu().contiguous() for name, t in saved.tensors.items()}
    return save(stored, {**saved.metadata, CHECKSUM: _checksum(stored)})


def from_bytes(contents: bytes, epoch: int) -> Saved | None:
    """What `to_bytes` made; None where it is not whole."""
    size = int.from_bytes(contents[:8], "little")
    try:
        tensors = load(contents)
        metadata = json.loads(contents[8 : 8 + size]).get("__metadata__", {})
    except (SafetensorError, ValueError):
        return None
    if metadata.pop(CHECKSUM, "") != _checksum(tensors):
        return None
    return Saved(epoch, tensors, metadata)


def read_saved(path: Path) -> Saved | None:
    """What `write_saved` wrote; None where there is no whole file."""
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            names = stored.keys()
            tensors = {name: stored.get_tensor(name) for name in names}
    except (FileNotFoundError, SafetensorError):
        return None
    if metadata.pop(CHECKSUM, "") != _checksum(tensors):
        return None
    return Saved(epoch_of(path.name), tensors, metadata)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of names and numbers: a file can have its length and not its contents."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"


_UNWRITABLE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
    errno.ENOTCONN,
}


def storage_problem(error: BaseException, place: str = "a file") -> str:
    """What is wrong with a disk, and where; "" where that is not what the error says.

    `place` is what could not be used, of an error that does not say.
    """
    if not isinstance(error, OSError) or error.errno not in _UNWRITABLE:
        return ""
    where = f"{error.filename or place} cannot be written or read"
    return f"{where}: {os.strerror(error.errno)}"

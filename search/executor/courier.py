"""What lies on the driver's machine, brought to nodes that do not share its folders.

A node that sees the study's folder on a disk of its own reads what is there. Elsewhere each node
keeps one copy of the features and tokens, on its own disk: read from the shared folder where there
is one, else fetched through Ray. States of trials then travel to the driver's machine.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil
import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ...trainables.assignment import Materials
from ...trainables.notes.cache import DONE, cache_dir, make_once, read_meta
from ...trainables.training.states import Kind, Saved, StateStore

NODE_FOLDER = (
    "HEADHUNT_NODE_FOLDER"  # where a node keeps its copies; its temporary folder, if unset
)
PIECE_BYTES = 64 * 2**20
CALLS_AT_ONCE = 8  # of the keeper
CLEARING_SECONDS = 20.0
NETWORK_DISKS = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre"),
    *("nfs", "nfs4", "ncpfs", "orangefs", "panfs", "smb3", "smbfs", "virtiofs"),
}


@dataclass(frozen=True, slots=True)
class Sign:
    """A file in the study's folder, by which a node tells whether it sees that folder."""

    path: Path
    word: str

    @classmethod
    def put_up(cls, folder: Path) -> "Sign":
        """Write one.

        Raises:
            OSError: the folder cannot be written.
        """
        word = token_hex(16)
        path = folder.resolve() / f".seen-{word}"
        path.write_text(word)
        return cls(path, word)

    def take_down(self) -> None:
        """It is no longer needed."""
        self.path.unlink(missing_ok=True)

    def is_seen(self) -> bool:
        """From this machine."""
        try:
            return self.path.read_text() == self.word
        except OSError:
            return False


def is_on_network(path: Path) -> bool:
    """Whether the path is on a disk that other machines serve."""
    mounted = {p.mountpoint: p.fstype for p in psutil.disk_partitions(all=True)}
    places = [str(place) for place in (path.resolve(), *path.resolve().parents)]
    kinds = (mounted[place] for place in places if place in mounted)
    return next(kinds, "").lower() in NETWORK_DISKS


class _Keeper:
    """Sits on the driver's machine: takes states, and hands out files of the features."""

    def __init__(self, states: StateStore, folders: Mapping[str, Path]) -> None:
        self._states, self._folders = states, dict(folders)

    def put(self, trial: int, kind: Kind, saved: Saved) -> None:
        self._states.put(trial, kind, saved)

    def find(self, trial: int, kind: Kind) -> list[Saved]:
        return list(self._states.find(trial, kind))

    def remove(self, trial: int, kind: Kind) -> None:
        self._states.remove(trial, kind)

    def meta(self, folder: str) -> tuple[dict[str, object], dict[str, int]]:
        """What is said of a folder, and its files with their bytes."""
        files = [file for file in self._folders[folder].iterdir() if file.name != DONE]
        sizes = {file.name: file.stat().st_size for file in files}
        return read_meta(self._folders[folder]), sizes

    def piece(self, folder: str, file: str, start: int) -> bytes:
        """Of one of those files."""
        if Path(file).name != file:
            raise ValueError(f"a file is a name without a folder; got {file=}")
        with (self._folders[folder] / file).open("rb") as opened:
            opened.seek(start)
            return opened.read(PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class DistantStates:
    """A store of states on the driver's machine, as a node elsewhere sees it."""

    keeper: Any  # handle of a `_Keeper`

    def put(self, trial: int, kind: Kind, saved: Saved) -> None:
        """See `StateStore`."""
        here = {name: t.detach().cpu().contiguous() for name, t in saved.tensors.items()}
        _ask(self.keeper.put, trial, kind, replace(saved, tensors=here))

    def find(self, trial: int, kind: Kind) -> Iterator[Saved]:
        """See `StateStore`."""
        yield from _ask(self.keeper.find, trial, kind)

    def remove(self, trial: int, kind: Kind) -> None:
        """See `StateStore`."""
        _ask(self.keeper.remove, trial, kind)


def _ask(method: Any, *words: Any) -> Any:
    """A keeper's answer; its errors are raised as they were there."""
    try:
        return ray.get(method.remote(*words))
    except RayTaskError as error:
        raise error.cause from None


@dataclass(frozen=True, slots=True)
class Courier:
    """Called in a worker: makes what it trains on there on its node."""

    sign: Sign
    study: str  # tells one study's copies on a node from another's
    keeper: Any = None  # handle of a `_Keeper`; None: all nodes are this machine
    states_are_shared: bool = False  # every node reaches their store by itself

    def __call__(self, materials: Materials) -> Materials:
        """The materials with the folders of this node.

        Raises:
            OSError: the node's folder cannot be written, or is not its owner's alone.
        """
        seen = self.sign.is_seen()
        if seen and not is_on_network(self.sign.path):
            return materials
        cache = node_folder(self.study)

        def brought(folders: Mapping[str, Path]) -> dict[str, Path]:
            return {
                name: make_once(cache, folder.name, self._fill(folder, seen))[0]
                for name, folder in folders.items()
            }

        distant = not (seen or self.states_are_shared)
        return replace(
            materials,
            states=DistantStates(self.keeper) if distant else materials.states,
            cache=cache,
            features=brought(materials.features),
            tokens=brought(materials.tokens),
        )

    def _fill(self, folder: Path, seen: bool) -> Callable[[Path], dict[str, object]]:
        return (lambda to: _copy(folder, to)) if seen else (lambda to: self._fetch(folder.name, to))

    def _fetch(self, name: str, to: Path) -> dict[str, object]:
        meta, sizes = _ask(self.keeper.meta, name)
        for file, size in sizes.items():
            with (to / file).open("wb") as opened:
                for start in range(0, size, PIECE_BYTES):
                    opened.write(_ask(self.keeper.piece, name, file, start))
        return meta


def _copy(folder: Path, to: Path) -> dict[str, object]:
    for file in folder.iterdir():
        if file.name != DONE:
            shutil.copyfile(file, to / file.name)
    return read_meta(folder)


def node_folder(study: str) -> Path:
    """Where this node keeps its copies for the study, for their owner alone.

    Raises:
        OSError: it cannot be made, or another user has made it.
    """
    place = Path(os.environ.get(NODE_FOLDER) or tempfile.gettempdir()) / f"headhunt-{os.getuid()}"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise PermissionError(1, "it is another user's", str(place))
    return cache_dir(place / study)


def study_key(folder: Path) -> str:
    """Of a study's copies: it names neither the study nor where it is."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def keep(states: StateStore, materials: Materials) -> Any:
    """Begin a keeper on this machine; the handle is what ends it when it is let go."""
    folders = {f.name: f for f in (*materials.features.values(), *materials.tokens.values())}
    actor: Any = ray.remote(num_cpus=0)(_Keeper)
    here = ray.get_runtime_context().get_node_id()
    place = NodeAffinitySchedulingStrategy(here, soft=False)
    return actor.options(scheduling_strategy=place, max_concurrency=CALLS_AT_ONCE).remote(
        states, folders
    )


def clear_nodes(study: str, nodes: Sequence[str]) -> None:
    """Remove the copies of this study on these nodes; one that does not answer keeps them."""

    def clear() -> None:
        shutil.rmtree(node_folder(study).parent, ignore_errors=True)

    task: Any = ray.remote(num_cpus=0)(clear)
    told = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
        for node in nodes
    ]
    ray.wait(told, num_returns=len(told), timeout=CLEARING_SECONDS)

"""Split notes into train, validation and test, 70/15/15, a patient and a text on one side only.

Groups go to parts one by one, the largest first, each to the part that it brings nearest to its
targets: 70, 15 and 15 % of each class and of all notes. scikit-learn's StratifiedGroupKFold does so
over equal folds, of which the parts would take 14, 3 and 3; measured, both are within 0.2 points on
5,444 notes of 1,500 patients (1.1 s there, 0.02 s here), but with 20 patients it missed the shares
by up to 7.5 points, this by 1.5. Order and ties come from hashes of (seed, text), so the split
depends on neither the order of the rows nor a version of NumPy. What is wrong with a corpus is said
in `checks.py`, not here.
"""

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...spaces.seeds import derive_seed

Array = NDArray[Any]


class Part(IntEnum):
    """Where a note is used."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


SHARES = (0.70, 0.15, 0.15)  # of the notes, in the order of `Part`
_HEAPS = 20  # into which the training notes are put before a share of them is taken


def text_key(text: str) -> str:
    """Equal for texts that count as identical: white space around them and case do not matter."""
    return text.strip().casefold()


def note_groups(texts: Sequence[str], patients: Sequence[str] | None) -> Array:
    """Group of each note, [notes] int64 from 0: what shares a patient or a text, also by a chain.

    An empty patient is an unknown one: its notes are tied by their texts alone.
    """
    node_of: dict[tuple[str, str], int] = {}  # a text or a patient to a place in `above`
    above: list[int] = []  # a forest: the way from a node to the root of its group

    def root(kind: str, name: str) -> int:
        node = node_of.setdefault((kind, name), len(above))
        if node == len(above):
            above.append(node)
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    keys = [text_key(text) for text in texts]
    for key, patient in zip(keys, patients or [""] * len(keys), strict=True):
        text_root = root("text", key)
        if patient.strip():
            above[text_root] = root("patient", patient.strip())
    roots = np.array([root("text", key) for key in keys], dtype=np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def split_notes(texts: Sequence[str], labels: Array, groups: Array, *, seed: int) -> Array:
    """Part of each note, [notes] int8.

    Every class is in each part where its groups allow it. The rare corpus whose classes share
    patients so that no such split is found comes back with a class missing from a part.
    """
    counts = _counts(labels, groups)
    rank = _ranks(texts, groups, derive_seed(seed, "split"))
    scarce: set[int] = set()  # classes whose notes the parts get before anything else
    while True:
        part_of = _fill(counts, rank, _reserve(counts, rank, scarce), shares=SHARES)
        held = np.stack([counts[part_of == part].sum(axis=0) for part in Part])
        missing = {int(code) for code in np.flatnonzero((held == 0).any(axis=0))}
        if missing <= scarce:
            return part_of[groups]
        scarce |= missing


def thin_training(
    texts: Sequence[str], labels: Array, groups: Array, *, share: float, seed: int
) -> Array:
    """Which of the training notes a study on a `share` of them keeps, [notes] bool.

    Whole groups stay, by label; each class keeps a note. A group's place does not depend on the
    share, so what a smaller share keeps, a larger one keeps too.
    """
    if share >= 1:
        return np.ones(len(labels), dtype=bool)
    _, groups = np.unique(groups, return_inverse=True)
    counts = _counts(labels, groups)
    line, middle = _line(texts, counts, groups, seed)
    keep = np.zeros(len(counts), dtype=bool)
    keep[line[middle < share * len(labels)]] = True
    covered = np.zeros(counts.shape[1], dtype=bool)
    for group in line:  # a class is never lost, however small the share
        if (counts[group].astype(bool) & ~covered).any():
            covered |= counts[group].astype(bool)
            keep[group] = True
    return keep[groups]


def least_share(texts: Sequence[str], labels: Array, groups: Array, *, seed: int) -> float:
    """The smallest share, to four decimals, that keeps a note of each class by its place alone.

    Below it `thin_training` keeps more than the share, so that no class is lost.
    """
    _, groups = np.unique(groups, return_inverse=True)
    counts = _counts(labels, groups)
    line, middle = _line(texts, counts, groups, seed)
    held = counts[line] > 0
    first = middle[held.argmax(axis=0)[held.any(axis=0)]]  # where each class comes in
    return min(1.0, (np.floor(first.max() / len(labels) * 10_000) + 1) / 10_000)


def _line(texts: Sequence[str], counts: Array, groups: Array, seed: int) -> tuple[Array, Array]:
    """One line of groups that serves every share: balanced heaps behind one another.

    Returns:
        the groups in drawn order, and the notes up to the middle of each.
    """
    rank = _ranks(texts, groups, derive_seed(seed, "train_fraction"))
    sizes = counts.sum(axis=1)
    heap_of = _fill(counts, rank, np.full(len(counts), -1), shares=(1 / _HEAPS,) * _HEAPS)
    heap_rank = np.full(_HEAPS, len(counts))
    np.minimum.at(heap_rank, heap_of, rank)
    line = np.lexsort((rank, heap_rank[heap_of]))
    return line, np.cumsum(sizes[line]) - sizes[line] / 2


def _counts(labels: Array, groups: Array) -> Array:
    """Notes of each class in each group, [groups, classes] int64."""
    counts = np.zeros((groups.max(initial=-1) + 1, labels.max(initial=-1) + 1), dtype=np.int64)
    np.add.at(counts, (groups, labels), 1)
    return counts


def _ranks(texts: Sequence[str], groups: Array, seed: int) -> Array:
    """Place of each group in an order drawn from the seed and the group's texts, [groups] int64."""
    key = seed.to_bytes(8, "big")
    drawn = np.array(
        [
            int.from_bytes(hashlib.blake2b(_encoded(text), digest_size=8, key=key).digest(), "big")
            for text in texts
        ],
        dtype=np.uint64,
    )
    lowest = np.full(groups.max(initial=-1) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(lowest, groups, drawn)
    return np.argsort(np.argsort(lowest))


def _encoded(text: str) -> bytes:
    return text_key(text).encode("utf-8", errors="surrogatepass")


def _reserve(counts: Array, rank: Array, scarce: set[int]) -> Array:
    """Part of groups that hold scarce classes, the smallest first; else -1. [groups] int8."""
    part_of = np.full(len(counts), -1, dtype=np.int8)
    in_groups = (counts > 0).sum(axis=0)
    for code in sorted(scarce, key=lambda code: (in_groups[code], code)):
        members = np.flatnonzero(counts[:, code])
        members = members[np.lexsort((rank[members], counts[members].sum(axis=1)))]
        for part in (Part.TEST, Part.VALIDATION, Part.TRAIN):
            free = members[part_of[members] == -1]
            if len(free) and part not in part_of[members]:
                part_of[free[0]] = part
    return part_of


def _fill(counts: Array, rank: Array, settled: Array, *, shares: Sequence[float]) -> Array:
    """Part of each group, [groups] int8; where `settled` is not -1, it stays."""
    sizes = counts.sum(axis=1, keepdims=True)
    loads = np.concatenate([counts, sizes], axis=1).astype(
        np.float64
    )  # the classes, then all notes
    loads = loads[:, loads.sum(axis=0) > 0]  # a class without notes has no target to miss
    targets = np.outer(shares, loads.sum(axis=0))
    part_of = settled.astype(np.int8)
    excess = -targets
    for part in range(len(shares)):
        excess[part] += loads[settled == part].sum(axis=0)
    for group in np.lexsort((rank, -sizes[:, 0])):
        if part_of[group] >= 0:
            continue
        load = loads[group]
        # By how much the group would raise sum((held - target)^2 / target) of each part.
        costs = ((2 * excess + load) * load / targets).sum(axis=1)
        part = int(costs.argmin())
        part_of[group] = part
        excess[part] += load
    return part_of

"""Ragged sequences in memory maps, and the batches that are made of them.

A file holds the notes' rows one after the other: token states [rows, width] float16, or token ids
[rows] int32; `offsets` [notes + 1] int64 says where each note begins. Workers map the same files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...spaces.configs import Pooling

POOL_BATCHES = 32  # batches whose notes are sorted by length together, so that padding stays small


@dataclass(frozen=True, slots=True)
class Ragged:
    """Notes of different lengths, one after the other, mapped and never copied as a whole."""

    rows: Tensor  # [rows, width] float16 token states (pooled: float32), or [rows] int32 token ids
    offsets: np.ndarray  # [notes + 1] int64

    @classmethod
    def open(cls, folder: Path) -> "Ragged":
        """Map the files that `features` or `tokens` wrote into `folder`."""
        # Copy on write: torch wants writable.
        rows = np.load(folder / "rows.npy", mmap_mode="c", allow_pickle=False)
        offsets = np.load(folder / "offsets.npy", allow_pickle=False)
        return cls(torch.from_numpy(rows), offsets)

    @classmethod
    def is_in(cls, folder: Path) -> bool:
        """Whether the folder's files are whole: arrays of numbers that belong together."""
        try:
            notes = cls.open(folder)
        except (OSError, ValueError, TypeError, EOFError):  # torn, of objects, or no arrays at all
            return False
        ends = notes.offsets
        is_row = isinstance(ends, np.ndarray) and ends.dtype == np.int64 and ends.ndim == 1
        return is_row and len(ends) > 1 and ends[0] == 0 and ends[-1] == len(notes.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each note, [notes] int64."""
        return np.diff(self.offsets)

    @property
    def width(self) -> int:
        """Width of a token state; 1 for token ids."""
        return self.rows.shape[1] if self.rows.ndim == 2 else 1

    def pooled(self, pooling: Pooling) -> "Ragged":
        """Each note's states as one row: their mean, their maxima, or the first; float32.

        Raises:
            ValueError: the pooling is learned.
        """
        made = _POOLED.get(pooling)
        if made is None:
            raise ValueError(f"only {sorted(_POOLED)} pool without learning; got {pooling=}")
        ends = zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
        rows = torch.stack([made(self.rows[start:end].float()) for start, end in ends])
        return Ragged(rows, np.arange(len(rows) + 1))

    def batch(self, notes: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """The notes padded to the longest of them, and where their tokens are.

        Returns:
            states [notes, tokens, width] float32 or ids [notes, tokens] int64, and the mask
            [notes, tokens] bool, True at real tokens.
        """
        starts = self.offsets[notes]
        lengths = self.offsets[notes + 1] - starts
        longest = int(lengths.max())
        states = self.rows.ndim == 2
        shape = (len(notes) * longest, *self.rows.shape[1:])
        padded = torch.empty(shape, dtype=torch.float32 if states else torch.int64)
        place = 0
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            padded[place : place + length].copy_(self.rows[start : start + length])
            if length < longest:
                padded[place + length : place + longest].zero_()
            place += longest
        padded = padded.unflatten(0, (len(notes), longest))
        mask = torch.arange(longest)[None, :] < torch.from_numpy(lengths)[:, None]
        return padded.to(device, non_blocking=True), mask.to(device, non_blocking=True)


class Gathered:
    """Notes whose rows are looked up where they are, so that many batches are made at once.

    Padding repeats a note's first row: finite numbers that no head reads.
    """

    def __init__(self, notes: Ragged, device: torch.device, resident_bytes: int) -> None:
        """Prepare.

        Args:
            notes: that batches are made of.
            device: of the batches.
            resident_bytes: that the rows may take of it; larger ones stay in the host's memory.
        """
        stay = notes.rows.nbytes <= resident_bytes
        self._rows, self._device = notes.rows.to(device) if stay else notes.rows, device
        self._starts, self._lengths = notes.offsets[:-1], notes.lengths

    def batch(self, notes: np.ndarray) -> tuple[Tensor, Tensor]:
        """Notes [..., notes] int64, padded to the longest of all.

        Returns:
            states [..., notes, tokens, width], of the type in which they are stored, and the mask
            [..., notes, tokens] bool, True at real tokens.
        """
        told = np.stack([self._starts[notes], self._lengths[notes]])
        starts, lengths = torch.from_numpy(told).to(self._rows.device).unsqueeze(-1)
        place = torch.arange(int(told[1].max()), device=starts.device)
        mask = place < lengths
        index = torch.where(mask, starts + place, starts)
        states = self._rows.index_select(0, index.flatten()).view(*index.shape, -1)
        return states.to(self._device), mask.to(self._device)


_POOLED: dict[Pooling, Callable[[Tensor], Tensor]] = {
    Pooling.FIRST: lambda states: states[0],
    Pooling.MEAN: lambda states: states.mean(dim=0),
    Pooling.MAX: lambda states: states.amax(dim=0),
}


def training_batches(
    notes: np.ndarray, lengths: np.ndarray, *, batch_size: int, seed: int
) -> list[np.ndarray]:
    """The epoch's batches: shuffled, of like lengths, in an order that `seed` alone decides.

    Args:
        notes: the notes to train on, [training notes] int64.
        lengths: tokens of every note of the corpus, [notes] int64.
        batch_size: notes a batch; the last one may be smaller.
        seed: of this epoch.

    >>> import numpy as np
    >>> [len(b) for b in training_batches(np.arange(5), np.ones(5), batch_size=2, seed=0)]
    [2, 2, 1]
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(notes)
    batches: list[np.ndarray] = []
    pool_size = batch_size * POOL_BATCHES
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    full = [b for b in batches if len(b) == batch_size]
    rest = [b for b in batches if len(b) < batch_size]
    return [full[i] for i in generator.permutation(len(full))] + rest


def evaluation_batches(
    notes: np.ndarray, lengths: np.ndarray, *, batch_size: int
) -> list[np.ndarray]:
    """All notes once, from short to long, so that padding is smallest."""
    order = notes[np.argsort(lengths[notes], kind="stable")]
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

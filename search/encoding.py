"""Encode the corpus with each backbone, side by side where there is room for it.

What the cache has is taken from there. One that is left is encoded in this process, and so are few
tokens, for which a process would take longer to start; else each gets its own (`side_by_side`).
What a backbone that does not fit means for the search is not decided here, nor how progress looks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import torch

from ..trainables.card.cap import ShortOfMemoryError, cap_of
from ..trainables.card.cards import MIB
from ..trainables.card.devices import USUAL_CONTEXT_BYTES, CudaLooks
from ..trainables.models.backbones import load_backbone
from ..trainables.notes.corpus import Corpus
from ..trainables.notes.features import encode_features, find_features
from ..trainables.notes.split import Array
from .side_by_side import Encoded, about, encode_side_by_side
from .telling import telling_by_type

# A process starts in 5 to 10 s. On two cores a small encoder takes 20 s for these, and a large one
# on a small GPU half a minute: below that one after the other is as soon done.
WORTH_TOKENS = 200_000
HOST_BYTES = 2048 * MIB  # on a CPU without a card: PyTorch, BERT-base in two precisions and a batch


@dataclass(frozen=True, slots=True)
class Work:
    """What the encodings of a search have in common."""

    corpus: Corpus
    cache: Path
    max_tokens: int  # of a note
    precision: str  # bf16 or fp32
    limit_bytes: int | None  # what the card leaves to each; None without a card


@dataclass(frozen=True, slots=True)
class Job:
    """One encoding."""

    work: Work
    backbone: str
    lengths: Array = field(repr=False)  # tokens of each note, [notes] int64

    def encode(self, device: torch.device, progress: Callable[[int, int], None]) -> Encoded:
        """Encode on this device in this process, under the card's limit.

        Raises:
            ShortOfMemoryError: the card leaves enough, and others hold it here.
            BackboneError: its files are missing, torn or not all there.
        """
        work, cap = self.work, cap_of(device, self.work.limit_bytes)
        cap.begin()
        try:
            return encode_features(
                work.corpus,
                load_backbone(self.backbone, work.cache),
                work.cache,
                max_tokens=work.max_tokens,
                precision=work.precision,
                device=device,
                lengths=self.lengths,
                progress=progress,
            )
        except Exception as error:
            memory = cap.judge(error)
            if memory is None:
                raise
        # Not in the handler: while it stands, its error keeps the encoder.
        if isinstance(memory, ShortOfMemoryError):
            raise ShortOfMemoryError(f"{about(self.backbone)}: {memory}")
        return memory


def encode_backbones(
    work: Work,
    lengths: Mapping[str, Array],
    *,
    on_progress: Callable[[str, int, int], None],
    on_end: Callable[[str, Encoded], None],
) -> dict[str, Encoded]:
    """Encode the corpus with each backbone, unless it is encoded already.

    Args:
        work: what they have in common.
        lengths: tokens of each note by backbone, [notes] int64, as `token_lengths` says.
        on_progress: told (backbone, tokens done, tokens in all) of all that run.
        on_end: told of each backbone's end, in the order in which they end.

    Returns:
        by backbone, in the order of `lengths`.

    Raises:
        ShortOfMemoryError: others left too little memory.
        BackboneError: a backbone's files are missing, torn or not all there.
        OSError: the cache cannot be written.
        EncodingError: a process of an encoding failed otherwise, or was killed.
    """
    ended: dict[str, Encoded] = {}

    def end(backbone: str, encoded: Encoded) -> None:
        ended[backbone] = encoded
        on_end(backbone, encoded)

    jobs = []
    for name in lengths:
        found = find_features(
            work.corpus, name, work.cache, max_tokens=work.max_tokens, precision=work.precision
        )
        if found:
            end(name, (found, False))
        else:
            jobs.append(Job(work, name, lengths[name]))
    would_wait = sum(int(job.lengths.sum()) for job in jobs[1:])
    places = find_places(len(jobs), work.limit_bytes) if would_wait >= WORTH_TOKENS else []
    if len(places) > 1:
        encode_side_by_side(jobs, places, on_progress=on_progress, on_end=end)
    else:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        for job in jobs:
            with telling_by_type(about(job.backbone)):
                encoded = job.encode(device, partial(on_progress, job.backbone))
            end(job.backbone, encoded)
    return {name: ended[name] for name in lengths}


def find_places(wanted: int, limit_bytes: int | None) -> list[torch.device]:
    """Where this many encodings may run side by side: a place each, at least one.

    Each GPU has one; where that is not enough, as many as hold the card's limit and a context in
    what is free there. A CPU has one a thread, as far as the memory goes.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.device("cuda", index) for index in range(count)] or [torch.device("cpu")]
    rooms = [1] * len(devices)
    if not count:
        rooms = [_room(psutil.virtual_memory().available, limit_bytes or HOST_BYTES)]
    elif count < wanted and limit_bytes is not None:  # to look may cost a context
        rooms = [_room(free, limit_bytes) for free in CudaLooks().free_bytes()]
    turns = range(max(rooms))
    places = [
        device for turn in turns for device, room in zip(devices, rooms, strict=True) if turn < room
    ]
    return places[: min(wanted, max(torch.get_num_threads(), len(devices)))]


def _room(free_bytes: int, each_bytes: int) -> int:
    """How many encodings, and the contexts of their processes, go into this."""
    return max(1, free_bytes // (each_bytes + USUAL_CONTEXT_BYTES))

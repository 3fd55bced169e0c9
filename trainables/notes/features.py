"""What a frozen backbone says of every note, encoded once and shared by all trials.

Token states are stored ragged, in half precision, in a memory-mapped file: one folder per (files of
the backbone, length limit, precision, texts). Labels, patients and the split do not count, so a
study of the same texts with others reads the same folder. Notes are encoded from long to short, so
that padding stays small and a lack of memory shows at once. While a GPU computes, the next batch is
tokenised and the one before is written. How far it came is marked every few seconds, and an
encoding that was interrupted goes on from there.
"""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..files import own_file
from ..models.backbones import (
    Backbone,
    identity,
    load_config,
    load_tokenizer,
    locate,
    position_limit,
)
from ..training.batches import Ragged
from .cache import KeyPart, cache_key, find_made, make_once
from .corpus import Corpus
from .split import Array

ENCODING_NOTES = 8  # of the length limit: the tokens of a batch, as the footprint traces it
MARK, MARK_SECONDS = "batches.txt", 5.0  # how many are written; how often that is said
HALF_MAX = float(np.finfo(np.float16).max)


def fastest_precision(device: torch.device) -> str:
    """bf16 where the device computes faster in it, fp32 elsewhere.

    It is decided by capability, never by a clock, so that the same device gives the same features.
    Of processors with AVX-512's bf16 and no AMX, AMD's take half the time in it and Intel's, which
    do one such product where they do two in single precision, a third more.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    instructions = torch.cpu._is_avx512_bf16_supported() and not _is_intel()
    return "bf16" if torch.cpu._is_amx_tile_supported() or instructions else "fp32"


def _is_intel() -> bool:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        told = platform.processor()
    return "GenuineIntel" in told


def token_lengths(corpus: Corpus, backbone: str, max_tokens: int) -> Array:
    """Tokens of each note under the backbone's tokenizer and limit, [notes] int64."""
    config = load_config(backbone)
    limit = min(max_tokens, position_limit(config))
    return _lengths(corpus, load_tokenizer(backbone), limit, int(config.vocab_size))


def _lengths(corpus: Corpus, tokenizer: Any, limit: int, rows: int) -> Array:
    ids = tokenize(corpus.texts, tokenizer, limit, rows)
    return np.asarray([len(note) for note in ids], np.int64)


def encode_features(
    corpus: Corpus,
    backbone: Backbone,
    cache: Path,
    *,
    max_tokens: int,
    precision: str,
    device: torch.device,
    lengths: Array | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[Path, bool]:
    """Encode the corpus unless it is encoded already.

    Args:
        corpus: the notes.
        backbone: the encoder; its model is moved to `device`.
        cache: the store's confidential folder.
        max_tokens: tokens of a note at most, special tokens included.
        precision: bf16 (autocast) or fp32.
        device: where to compute.
        lengths: what `token_lengths` says, where that is known already.
        progress: called with (tokens done, tokens in all).

    Returns:
        the folder with `rows.npy` [tokens, width] float16 and `offsets.npy` [notes + 1] int64, and
        whether it was encoded just now.
    """
    limit, pad = min(max_tokens, backbone.max_tokens), backbone.tokenizer.pad_token_id
    rows = backbone.vocabulary

    def fill(folder: Path) -> dict[str, object]:
        known = lengths
        if known is None:
            known = _lengths(corpus, backbone.tokenizer, limit, rows)
        model = backbone.model.to(device)

        def begin(notes: Array) -> Callable[[], Array]:
            ids = tokenize([corpus.texts[n] for n in notes], backbone.tokenizer, limit, rows)
            return _begin(model, *_padded(ids, pad), device)

        with _inference(device, precision):
            _write(folder, known, (ENCODING_NOTES * limit, backbone.width), begin, progress)
        return {
            "tokens": int(known.sum()),
            "width": backbone.width,
            "precision": precision,
            "parameters": sum(p.numel() for p in model.parameters()),
        }

    made_of = _made_of(corpus, backbone.identity, limit, precision)
    return make_once(
        cache,
        _name_of(made_of),
        fill,
        made_of=made_of,
        resumable=True,
        is_sound=Ragged.is_in,
    )


def find_features(
    corpus: Corpus, backbone: str, cache: Path, *, max_tokens: int, precision: str
) -> Path | None:
    """The folder that `encode_features` would return, if it is there; no weight is loaded.

    Raises:
        BackboneError: the backbone's files are not there.
    """
    limit = min(max_tokens, position_limit(load_config(backbone)))
    made_of = _made_of(corpus, identity(locate(backbone)), limit, precision)
    return find_made(cache, _name_of(made_of), Ragged.is_in)


def _made_of(corpus: Corpus, backbone: str, limit: int, precision: str) -> dict[str, KeyPart]:
    return {
        "backbone": backbone,
        "texts_digest": corpus.texts_digest,
        "max_tokens": limit,
        "precision": precision,
        "version": 2,  # 2: attention by plain matrix products
    }


def _name_of(made_of: dict[str, KeyPart]) -> str:
    return f"features-{cache_key(**made_of)}"


def _write(
    folder: Path,
    lengths: Array,
    shape: tuple[int, int],
    begin: Callable[[Array], Callable[[], Array]],
    progress: Callable[[int, int], None],
) -> None:
    """Fill `rows.npy` and `offsets.npy`, from where an earlier one stopped.

    Args:
        folder: where they stand.
        lengths: tokens of each note, [notes] int64.
        shape: padded tokens of a batch, width of a state.
        begin: begins the pass over some notes, see `_begin`.
        progress: called with (tokens written, tokens in all).
    """
    tokens, width = shape
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    rows, begun = _open_rows(folder, (total, width))
    batches = in_batches(lengths, tokens)
    done, marked = sum(int(lengths[notes].sum()) for notes in batches[:begun]), time.monotonic()
    progress(done, total)
    for written, (notes, states) in enumerate(_one_behind(batches[begun:], begin), begun + 1):
        for row, note in enumerate(notes):
            rows[offsets[note] : offsets[note + 1]] = states[row, : lengths[note]]
        done += int(lengths[notes].sum())
        if time.monotonic() - marked > MARK_SECONDS:
            _mark(folder, rows, written)
            marked = time.monotonic()
        progress(done, total)
    rows.flush()
    np.save(folder / "offsets.npy", offsets)
    (folder / MARK).unlink(missing_ok=True)


def _open_rows(folder: Path, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """The file of token states, and how many batches an earlier encoding has written to it."""
    path, mark = folder / "rows.npy", folder / MARK
    if mark.exists():
        with suppress(OSError, ValueError):  # what cannot be read is written anew
            begun, rows = int(mark.read_text()), np.lib.format.open_memmap(path, mode="r+")
            if rows.shape == shape and rows.dtype == np.float16:
                _reserve(path)
                return rows, begun
    rows = np.lib.format.open_memmap(own_file(path), mode="w+", dtype=np.float16, shape=shape)
    _reserve(path)
    return rows, 0


def _reserve(path: Path) -> None:
    """Take a sparse file's whole place on the disk.

    A full disk that is met while writing to the map would kill the process without a word.

    Raises:
        OSError: there is not so much room.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error


def _mark(folder: Path, rows: np.memmap, batches: int) -> None:
    """All before this batch is on the disk."""
    rows.flush()
    aside = folder / f"{MARK}.new"
    aside.write_text(str(batches))
    aside.replace(folder / MARK)


def tokenize(texts: Sequence[str], tokenizer: Any, limit: int, rows: int) -> list[list[int]]:
    """Token numbers of every text, special tokens included, cut at `limit`.

    Of a mask token the encoder may have no embedding, since it has `rows`: where a note has it as
    text, it is a gap.
    """
    mask = tokenizer.mask_token_id
    if mask is not None and mask >= rows:
        texts = without(texts, tokenizer.mask_token)
    encoded = tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False)
    return encoded["input_ids"]


def without(texts: Iterable[str], token: str) -> list[str]:
    """The texts with a space in each place of the token."""
    return [text.replace(token, " ") for text in texts]


def in_batches(lengths: Array, tokens: int) -> list[Array]:
    """Notes from long to short in batches of at most so many padded tokens."""
    order = np.argsort(-lengths, kind="stable")
    batches: list[Array] = []
    start = 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


@contextmanager
def _inference(device: torch.device, precision: str) -> Iterator[None]:
    """Held over all batches: autocast casts the weights once."""
    bf16 = precision == "bf16"
    with (
        torch.inference_mode(),
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
    ):
        yield


def _padded(ids: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Token numbers and mask of a batch, both [notes, tokens] int64."""
    longest = max(len(note) for note in ids)
    tokens = torch.tensor([note + [pad] * (longest - len(note)) for note in ids])
    lengths = torch.tensor([len(note) for note in ids])
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    return tokens, mask.to(torch.int64)


def _begin(model: Any, tokens: Tensor, mask: Tensor, device: torch.device) -> Callable[[], Array]:
    """Begin a batch; what is returned waits for its last hidden states.

    A GPU is only told what to do, the copy to the host included, so nothing of the batch but its
    states in half precision, which the copy lets go, outlives its pass on the device.

    Returns:
        a function to [notes, tokens, width] float16.
    """
    if device.type == "cuda":  # from other memory a copy would wait for the batch before
        tokens, mask = tokens.pin_memory(), mask.pin_memory()
    states = model(
        input_ids=tokens.to(device, non_blocking=True),
        attention_mask=mask.to(device, non_blocking=True),
    ).last_hidden_state
    # A state beyond half precision would become infinite and poison every head.
    half = states.float().clamp(-HALF_MAX, HALF_MAX).to(torch.float16)
    here = half.to("cpu", non_blocking=True)
    if device.type != "cuda":
        return here.numpy
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(device))

    def wait() -> Array:
        copied.synchronize()
        return here.numpy()

    return wait


def _one_behind(
    batches: list[Array], begin: Callable[[Array], Callable[[], Array]]
) -> Iterator[tuple[Array, Array]]:
    """Each batch and its states, when the next one has begun: a GPU computes while we write."""
    before: tuple[Array, Callable[[], Array]] | None = None
    for notes in batches:
        begun = notes, begin(notes)
        if before:
            yield before[0], before[1]()
        before = begun
    if before:
        yield before[0], before[1]()

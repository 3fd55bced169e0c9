"""What a frozen backbone says of every note, encoded once and shared by all trials.

Token states are stored ragged, in half precision, in a memory-mapped file: one folder per (files of
the backbone, length limit, precision, corpus). Notes are encoded from long to short, so that
padding stays small and a lack of memory shows at once. How far it came is marked every few seconds,
and an encoding that was interrupted goes on from there.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models.backbones import Backbone, load_config, load_tokenizer, position_limit
from .cache import cache_key, make_once
from .corpus import Corpus

ENCODING_NOTES = 8  # of the length limit: the tokens of a batch, as the footprint traces it
MARK, MARK_SECONDS = "batches.txt", 5.0  # how many are written; how often that is said
HALF_MAX = float(np.finfo(np.float16).max)


def fastest_precision(device: torch.device) -> str:
    """bf16 where the device computes in it, fp32 elsewhere.

    It is decided by capability, never by a clock, so that the same device gives the same features.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if fast else "fp32"


def token_lengths(corpus: Corpus, backbone: str, max_tokens: int) -> np.ndarray:
    """Tokens of each note under the backbone's tokenizer and limit, [notes] int64."""
    tokenizer = load_tokenizer(backbone)
    limit = min(max_tokens, position_limit(load_config(backbone)))
    return np.asarray([len(ids) for ids in tokenize(corpus, tokenizer, limit)], dtype=np.int64)


def encode_features(
    corpus: Corpus,
    backbone: Backbone,
    cache: Path,
    *,
    max_tokens: int,
    precision: str,
    device: torch.device,
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
        progress: called with (tokens done, tokens in all).

    Returns:
        the folder with `rows.npy` [tokens, width] float16 and `offsets.npy` [notes + 1] int64, and
        whether it was encoded just now.
    """
    limit = min(max_tokens, backbone.max_tokens)

    def fill(folder: Path) -> dict[str, object]:
        ids = tokenize(corpus, backbone.tokenizer, limit)
        lengths = np.asarray([len(note) for note in ids], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        total = int(offsets[-1])
        rows, begun = _open_rows(folder, (total, backbone.width))
        model = backbone.model.to(device)
        autocast: Any = (
            torch.autocast(device.type, dtype=torch.bfloat16)
            if precision == "bf16"
            else nullcontext()
        )
        done, marked = 0, time.monotonic()
        progress(done, total)
        with torch.inference_mode(), autocast:
            for place, notes in enumerate(in_batches(lengths, ENCODING_NOTES * limit)):
                if place < begun:
                    done += int(lengths[notes].sum())
                    continue
                if time.monotonic() - marked > MARK_SECONDS:
                    _mark(folder, rows, place)
                    marked = time.monotonic()
                states = _states(
                    model, backbone.tokenizer.pad_token_id, notes, ids, lengths, device
                )
                for row, note in enumerate(notes):
                    rows[offsets[note] : offsets[note + 1]] = states[row, : lengths[note]]
                done += int(lengths[notes].sum())
                progress(done, total)
        rows.flush()
        np.save(folder / "offsets.npy", offsets)
        (folder / MARK).unlink(missing_ok=True)
        return {
            "tokens": total,
            "width": backbone.width,
            "precision": precision,
            "parameters": sum(p.numel() for p in model.parameters()),
        }

    name = "features-" + cache_key(
        backbone=backbone.identity,
        corpus=corpus.digest,
        max_tokens=limit,
        precision=precision,
        version=2,  # 2: attention by plain matrix products
    )
    return make_once(cache, name, fill, resumable=True)


def _open_rows(folder: Path, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """The file of token states, and how many batches an earlier encoding has written to it."""
    path, mark = folder / "rows.npy", folder / MARK
    if mark.exists():
        return np.lib.format.open_memmap(path, mode="r+"), int(mark.read_text())
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    return rows, 0


def _mark(folder: Path, rows: np.memmap, batches: int) -> None:
    """All before this batch is on the disk."""
    rows.flush()
    aside = folder / f"{MARK}.new"
    aside.write_text(str(batches))
    aside.replace(folder / MARK)


def tokenize(corpus: Corpus, tokenizer: Any, limit: int) -> list[list[int]]:
    """Token numbers of every note, special tokens included, cut at `limit`."""
    encoded = tokenizer(
        list(corpus.texts), truncation=True, max_length=limit, return_attention_mask=False
    )
    return encoded["input_ids"]


def in_batches(lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Notes from long to short in batches of at most so many padded tokens."""
    order = np.argsort(-lengths, kind="stable")
    batches: list[np.ndarray] = []
    start = 0
    while start < len(order):
        size = max(1, tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def _states(
    model: Any,
    pad: int,
    notes: np.ndarray,
    ids: list[list[int]],
    lengths: np.ndarray,
    device: torch.device,
) -> np.ndarray:
    """Last hidden states of these notes, [notes, tokens, width] float16."""
    longest = int(lengths[notes].max())
    tokens = torch.full((len(notes), longest), pad, dtype=torch.int64)
    for place, note in enumerate(notes):
        tokens[place, : lengths[note]] = torch.tensor(ids[note])
    mask = torch.arange(longest)[None, :] < torch.from_numpy(lengths[notes])[:, None]
    states = model(
        input_ids=tokens.to(device), attention_mask=mask.to(device, torch.int64)
    ).last_hidden_state
    # A state beyond half precision would become infinite and poison every head.
    return states.float().clamp(-HALF_MAX, HALF_MAX).to(torch.float16).cpu().numpy()

"""What encoding a corpus costs beside the bare forward passes: tokenising, sorting and writing.

Bare are the passes of the encoder as transformers loads it, over the same notes in the same
batches, tokenised and padded before, in the best precision of this processor, nothing kept. Two
backbones are encoded side by side, the start of their processes included, and one after the other.
`python -m benchmarks.encoding`.
"""

import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModel

from headhunt.search.encoding import Job, Work
from headhunt.search.side_by_side import encode_side_by_side
from headhunt.trainables.models.backbones import DEMO, demo_backbone, load_backbone, locate
from headhunt.trainables.notes.corpus import Corpus, read_corpus
from headhunt.trainables.notes.features import (
    ENCODING_NOTES,
    encode_features,
    fastest_precision,
    in_batches,
    token_lengths,
    tokenize,
)
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES, TOKENS = 300, 256
ROUNDS = 3  # of each, in turn; the fastest counts
LIMIT = 1.3  # times
CPU = torch.device("cpu")


def measure() -> str:
    """Encode as a search does, and bare, and the other precision once."""
    if demo_backbone() is None:
        return "encoding: left out, the demo extra is not installed"
    best = fastest_precision(CPU)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.csv"
        write_synthetic_notes(path, NOTES)
        corpus = read_corpus(path)
        ours, bare = [], []
        for round_ in range(ROUNDS):
            ours.append(encoding_seconds(corpus, Path(folder) / str(round_), best))
            bare.append(bare_seconds(corpus, best))
        other = encoding_seconds(corpus, Path(folder), "fp32" if best == "bf16" else "bf16")
        beside, in_turn = two_seconds(corpus, Path(folder), best)
    return (
        f"encoding {NOTES} notes with all-MiniLM-L6-v2: {min(ours):.1f} s in {best}, "
        f"{min(ours) / min(bare):.2f} times the bare forward passes (at most {LIMIT}); "
        f"{other:.1f} s in {'fp32' if best == 'bf16' else 'bf16'}\n"
        f"encoding them with two backbones: {beside:.1f} s side by side, {beside / in_turn:.2f} "
        f"times one after the other ({in_turn:.1f} s)"
    )


def encoding_seconds(corpus: Corpus, folder: Path, precision: str) -> float:
    """As a search does it, its backbone loaded."""
    backbone = load_backbone(DEMO, folder)
    begin = time.perf_counter()
    encode_features(corpus, backbone, folder, max_tokens=TOKENS, precision=precision, device=CPU)
    return time.perf_counter() - begin


def bare_seconds(corpus: Corpus, precision: str) -> float:
    """The forward passes alone."""
    model = AutoModel.from_pretrained(locate(DEMO)).eval()
    backbone = load_backbone(DEMO, Path())
    ids = tokenize(corpus.texts, backbone.tokenizer, TOKENS, backbone.vocabulary)
    rows = [torch.tensor(note) for note in ids]
    lengths = torch.tensor([len(row) for row in rows])
    batches = []
    for notes in in_batches(lengths.numpy(), ENCODING_NOTES * TOKENS):
        padded = torch.nn.utils.rnn.pad_sequence([rows[n] for n in notes], batch_first=True)
        mask = torch.arange(padded.shape[1])[None, :] < lengths[notes][:, None]
        batches.append((padded, mask.long()))
    begin = time.perf_counter()
    with (
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"),
    ):
        for padded, mask in batches:
            model(input_ids=padded, attention_mask=mask)
    return time.perf_counter() - begin


def two_seconds(corpus: Corpus, folder: Path, precision: str) -> tuple[float, float]:
    """Of two backbones: in processes side by side, and in this one in turn."""
    lengths = token_lengths(corpus, DEMO, TOKENS)

    def jobs(name: str) -> list[Job]:
        caches = [folder / f"{name}{count}" for count in range(2)]  # or one would find the other's
        for cache in caches:
            cache.mkdir()
        return [Job(Work(corpus, c, TOKENS, precision, None), DEMO, lengths) for c in caches]

    begin = time.perf_counter()
    encode_side_by_side(
        jobs("beside"), [CPU, CPU], on_progress=lambda *_: None, on_end=lambda *_: None
    )
    middle = time.perf_counter()
    for job in jobs("in-turn"):
        job.encode(CPU, lambda *_: None)
    return middle - begin, time.perf_counter() - middle


if __name__ == "__main__":
    print(measure())

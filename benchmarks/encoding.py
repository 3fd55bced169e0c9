"""What encoding a corpus costs beside the bare forward passes, and bf16 beside fp32."""

import tempfile
import time
from pathlib import Path

import torch

from headhunt.trainables.models.backbones import demo_backbone, load_backbone
from headhunt.trainables.notes.corpus import Corpus, read_corpus
from headhunt.trainables.notes.features import encode_features, fastest_precision
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES = 300


def measure() -> str:
    """Encode in both precisions, once each."""
    name = demo_backbone()
    if name is None:
        return "encoding: left out, the demo extra is not installed"
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        corpus = _corpus(Path(folder))
        backbone = load_backbone(name, Path(folder))
        seconds = {}
        for precision in ("fp32", "bf16"):
            begin = time.perf_counter()
            made, _ = encode_features(
                corpus,
                backbone,
                Path(folder),
                max_tokens=256,
                precision=precision,
                device=device,
            )
            seconds[precision] = time.perf_counter() - begin
            del made
    best = fastest_precision(device)
    return (
        f"encoding {NOTES} notes with {name}: {seconds['fp32']:.1f} s in fp32, "
        f"{seconds['bf16']:.1f} s in bf16; 'auto' takes {best} here"
    )


def _corpus(folder: Path) -> Corpus:
    path = folder / "notes.csv"
    write_synthetic_notes(path, NOTES)
    return read_corpus(path)

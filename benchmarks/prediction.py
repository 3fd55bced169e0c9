"""What `headhunt predict` takes beside plain batched inference: transformers, torch and no more.

Plain is the loop that a user would write: tokenise a batch, run the encoder and the head, keep the
probabilities; over the notes as they come, and sorted by length beforehand. All have the same
model, the same notes per full batch and the same precision; ours reads and writes its files as
well, and checks them. `python -m benchmarks.prediction`.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from headhunt.spaces.configs import HeadConfig
from headhunt.spaces.heads import AdapterHead
from headhunt.trainables.artifact.calibration import Calibration
from headhunt.trainables.artifact.description import BackboneReference
from headhunt.trainables.artifact.export import Trained, write_artifact
from headhunt.trainables.artifact.load import load_artifact
from headhunt.trainables.artifact.predict import predict_file
from headhunt.trainables.artifact.tokenizing import of_backbone
from headhunt.trainables.models.backbones import (
    DEMO,
    DEMO_PACKAGE,
    demo_backbone,
    identity,
    load_tokenizer,
    locate,
)
from headhunt.trainables.models.classifier import HeadModel
from headhunt.trainables.notes.features import ENCODING_NOTES, fastest_precision
from headhunt.trainables.notes.reading import Columns, read_table
from headhunt.trainables.notes.stream import NoteColumns
from headhunt.trainables.notes.synthetic import write_synthetic_notes

NOTES, TOKENS, WIDTH = 400, 256, 384
ROUNDS = 3  # of each, in turn; the fastest counts
LIMIT = 1.0  # times
CPU = torch.device("cpu")
CONFIG = HeadConfig(backbone=DEMO, head=AdapterHead(bottleneck=64))
NO_CALIBRATION = Calibration(
    temperature=1.0,
    fitted_on="nothing",
    notes=0,
    error_before=0.0,
    error_after=0.0,
    loss_before=0.0,
    loss_after=0.0,
)
NOWHERE = {
    "study": "benchmark",
    "trial": 0,
    "config_hash": "",
    "seed": 0,
    "weights": "random",
    "best_epoch": 0,
    "min_document_frequency": 1,
    "corpus": {
        "digest": "",
        "notes": 0,
        "parts": {"train": 0, "validation": 0, "test": 0},
        "classes": {name: {"train": 0, "validation": 0, "test": 0} for name in ("no", "yes")},
        "by_patient": False,
    },
    "metrics": {},
    "parameters": {},
    "costs": [],
    "versions": {"headhunt": "0"},
}


def measure() -> str:
    """One line."""
    if demo_backbone() is None:
        return "prediction: left out, the demo extra is not installed"
    precision = fastest_precision(CPU)
    head = HeadModel(WIDTH, 2, CONFIG).eval()
    seconds: dict[str, list[float]] = {"ours": [], "as they come": [], "sorted": []}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        notes = folder / "notes.csv"
        write_synthetic_notes(notes, NOTES)
        export(folder / "model", head, precision)
        texts = read_table(notes, Columns()).cells["text"]
        loaded = load_artifact(folder / "model", device=CPU)
        encoder = AutoModel.from_pretrained(locate(DEMO)).eval()
        tokenizer = AutoTokenizer.from_pretrained(locate(DEMO))
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            predict_file(loaded, notes, folder / "out.csv", NoteColumns())
            seconds["ours"].append(time.perf_counter() - begin)
            for name, order in (("as they come", texts), ("sorted", sorted(texts, key=len))):
                begin = time.perf_counter()
                plain(encoder, tokenizer, head, order, precision)
                seconds[name].append(time.perf_counter() - begin)
    ours, unsorted, in_order = (min(each) for each in seconds.values())
    return (
        f"predicting {NOTES} notes with an adapter on all-MiniLM-L6-v2 in {precision}: {ours:.1f} s"
        f" with files and checks, {ours / in_order:.2f} times plain batches of {ENCODING_NOTES} "
        f"sorted by length ({in_order:.1f} s), {ours / unsorted:.2f} times those as they come "
        f"({unsorted:.1f} s; at most {LIMIT})"
    )


def export(folder: Path, head: HeadModel, precision: str) -> None:
    """The model, with weights that nobody has trained."""
    trained = Trained(
        config=CONFIG,
        labels=("no", "yes"),
        origin=NOWHERE,
        weights=head.state_dict(),
        tokenizer=of_backbone(load_tokenizer(DEMO), TOKENS),
        max_tokens=TOKENS,
        precision=precision,
        backbone=BackboneReference(
            name=DEMO, identity=identity(locate(DEMO)), package=DEMO_PACKAGE
        ),
    )
    write_artifact(folder, trained, NO_CALIBRATION)


@torch.inference_mode()
def plain(
    encoder: torch.nn.Module,
    tokenizer: object,
    head: HeadModel,
    texts: Sequence[str],
    precision: str,
) -> torch.Tensor:
    """The loop; probabilities, [notes, classes]."""
    found = []
    for start in range(0, len(texts), ENCODING_NOTES):
        batch = tokenizer(  # type: ignore[operator]
            list(texts[start : start + ENCODING_NOTES]),
            truncation=True,
            max_length=TOKENS,
            padding=True,
            return_tensors="pt",
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            states = encoder(**batch).last_hidden_state
        logits = head(states.float(), batch["attention_mask"].bool()).logits
        found.append(logits.softmax(dim=1))
    return torch.cat(found)


if __name__ == "__main__":
    print(measure())

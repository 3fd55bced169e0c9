"""An epoch of a scratch model, and of `transformers.Trainer` on the same model, notes and batches.

The Trainer gets the model twice: as a user would write it from PyTorch's layers (`plain_scratch`),
and as ours, with our operations, which leaves what the Trainer itself costs. One thread, batches of
8, AdamW, evaluation at the epoch's end, in single precision; the Trainer as its documentation sets
it up, padding each batch to its longest note. The fastest of three epochs counts, in processor
seconds. `python -m benchmarks.scratch_epoch`.
"""

import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from headhunt.spaces.configs import ScratchConfig
from headhunt.trainables.assignment import TrainingSettings
from headhunt.trainables.models.scratch import ScratchModel
from headhunt.trainables.notes.cache import read_meta
from headhunt.trainables.notes.corpus import Corpus, read_corpus
from headhunt.trainables.notes.split import Part
from headhunt.trainables.notes.synthetic import write_synthetic_notes
from headhunt.trainables.notes.tokens import encode_tokens
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.loop import Task, train
from headhunt.trainables.training.metrics import score
from headhunt.trainables.worker import settle

from .plain_scratch import PlainModel

NOTES, TOKENS, EPOCHS = 1200, 256, 3
LIMIT = 3.0  # times
CPU = torch.device("cpu")


def measure() -> str:
    """A line for each model that is trained from nothing, at the values of its official code."""
    settle(CPU, 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_synthetic_notes(folder / "notes.csv", NOTES)
        corpus = read_corpus(folder / "notes.csv")
        lines = []
        for config in (ScratchConfig(), ScratchConfig(model="moe", experts=10)):
            tokens = encode_tokens(corpus, folder, vocabulary=config.vocabulary, max_tokens=TOKENS)
            lines.append(compare(config, corpus, tokens, folder))
    return "\n".join(lines)


def compare(config: ScratchConfig, corpus: Corpus, tokens: Path, folder: Path) -> str:
    """One line."""
    inputs, vocabulary = Ragged.open(tokens), cast("int", read_meta(tokens)["vocabulary"])

    def build() -> ScratchModel:
        return ScratchModel(config, vocabulary, len(corpus.label_names), TOKENS)

    task = Task(
        inputs,
        corpus.labels,
        len(corpus.label_names),
        corpus.indices(Part.TRAIN),
        corpus.indices(Part.VALIDATION),
    )
    ours = our_seconds(config, task, build)
    theirs = trainer_seconds(config, task, PlainModel(config, build()), folder)
    with_ours = trainer_seconds(config, task, ForTrainer(build()), folder)
    return (
        f"scratch epoch: {config.model}, {len(task.training)} notes take {ours:.2f} s, the "
        f"Trainer's {theirs:.2f} s: {theirs / ours:.1f} times (at least {LIMIT}); "
        f"{with_ours:.2f} s, {with_ours / ours:.1f} times, where it trains our own module"
    )


def our_seconds(config: ScratchConfig, task: Task, build: Any) -> float:
    """The fastest epoch of ours, validation in it."""
    settings = TrainingSettings(max_epochs=EPOCHS, patience=0, batch_limit=8, max_tokens=TOKENS)
    epochs = train(build, task, config.optimisation, settings, seed=0, device=CPU)
    return min(epoch.report.cpu_seconds for epoch in epochs)


class ForTrainer(nn.Module):
    """The model as the Trainer calls one."""

    def __init__(self, model: ScratchModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits."""
        output = self.model(tokens, mask)
        loss = F.cross_entropy(output.logits, labels)
        if output.balance_loss is not None:
            loss = loss + output.balance_loss
        return {"loss": loss, "logits": output.logits}


def trainer_seconds(config: ScratchConfig, task: Task, model: nn.Module, folder: Path) -> float:
    """The Trainer's fastest epoch, evaluation in it."""
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            ends.append(time.process_time())

        def on_evaluate(self, *_: Any, **__: Any) -> None:
            ends.append(time.process_time())

    def rows(notes: Any) -> list[dict[str, Any]]:
        starts, stops = task.inputs.offsets[:-1], task.inputs.offsets[1:]
        return [
            {"ids": task.inputs.rows[starts[n] : stops[n]].long(), "labels": int(task.labels[n])}
            for n in notes
        ]

    def collate(batch: list[Mapping[str, Any]]) -> dict[str, Tensor]:
        lengths = torch.tensor([len(row["ids"]) for row in batch])
        tokens = pad_sequence([row["ids"] for row in batch], batch_first=True)
        return {
            "tokens": tokens,
            "mask": torch.arange(tokens.shape[1])[None, :] < lengths[:, None],
            "labels": torch.tensor([row["labels"] for row in batch]),
        }

    optimisation = config.optimisation
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "trainer"),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=optimisation.batch_size,
            per_device_eval_batch_size=optimisation.batch_size,
            learning_rate=optimisation.learning_rate,
            weight_decay=optimisation.weight_decay,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            label_names=["labels"],
            dataloader_pin_memory=False,
        ),
        train_dataset=rows(task.training),  # type: ignore[arg-type]
        eval_dataset=rows(task.validation),  # type: ignore[arg-type]
        data_collator=collate,
        compute_metrics=lambda found: {
            "f1": score(
                torch.from_numpy(found.predictions).softmax(-1).numpy(), np.asarray(found.label_ids)
            ).f1
        },
        callbacks=[Clock()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return min(end - begin for begin, end in pairwise(ends))


if __name__ == "__main__":
    print(measure())

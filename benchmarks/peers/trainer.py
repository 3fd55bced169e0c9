"""`transformers.Trainer.hyperparameter_search` with Optuna."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from transformers import (
    AutoTokenizer,
    DataCollatorWithPadding,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from headhunt.trainables.models.backbones import DEMO, locate
from headhunt.trainables.notes.features import fastest_precision, tokenize
from headhunt.trainables.notes.split import Part

from .problem import CPU, SLOTS, TOKENS, Problem, Ran, Whole
from .space import BATCH, WEIGHT_DECAY


def run_trainer(problem: Problem, rates: list[float], folder: Path) -> Ran:
    """A search over these learning rates, one trial after the other."""
    torch.set_num_threads(SLOTS)
    begin = time.perf_counter()
    classes = len(problem.corpus.label_names)
    seen: list[list[float]] = []

    class Remember(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            seen.append([])

        def on_evaluate(self, *_: Any, metrics: dict[str, float], **__: Any) -> None:
            seen[-1].append(metrics["eval_f1"])

    trainer = Trainer(
        model_init=lambda _=None: Whole(classes),  # type: ignore[arg-type]
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=problem.epochs,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=BATCH,
            weight_decay=WEIGHT_DECAY,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=fastest_precision(CPU) == "bf16",
            dataloader_pin_memory=False,
        ),
        train_dataset=tokenised(problem, Part.TRAIN),  # type: ignore[arg-type]
        eval_dataset=tokenised(problem, Part.VALIDATION),  # type: ignore[arg-type]
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(locate(DEMO))),
        compute_metrics=lambda found: {
            "f1": f1_score(found.label_ids, np.argmax(found.predictions, axis=1), average="macro")
        },
        callbacks=[Remember()],
    )
    trainer.remove_callback(PrinterCallback)
    once = time.perf_counter() - begin
    trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": rates[trial.number]},
        compute_objective=lambda _: max(seen[-1]),
        n_trials=len(rates),
        direction="maximize",
        backend="optuna",
    )
    best = [max(scores) for scores in seen]
    return Ran("Trainer, Optuna", len(rates), time.perf_counter() - begin, once, best)


def tokenised(problem: Problem, part: Part) -> list[dict[str, Any]]:
    """The part's notes for the Trainer's collator."""
    tokenizer = AutoTokenizer.from_pretrained(locate(DEMO))
    ids = tokenize(problem.corpus.texts, tokenizer, TOKENS, len(tokenizer))
    return [
        {"input_ids": ids[place], "labels": int(problem.corpus.labels[place])}
        for place in problem.part(part)
    ]

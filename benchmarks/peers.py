"""headhunt beside what a user would otherwise run, on the same notes, split, configs and epochs.

The model is the frozen all-MiniLM-L6-v2 with an adapter of width 64, mean pooling and a classifier.
1. headhunt, without rungs, so that every trial trains all its epochs;
2. `transformers.Trainer.hyperparameter_search`, the encoder inside the model, in bf16 where the
   processor computes in it;
3. a Ray Tune function with `OptunaSearch`, as its documentation writes one, the encoder inside;
4. the same on features that were encoded once and stored.

Two processors: headhunt and Ray run two trials at a time with one thread each, the Trainer one with
two. Peers run the first configs of headhunt's, and are extrapolated from them: what they need once
is taken from what is measured, and every trial costs the mean of those that ran.
`python -m benchmarks.peers --help` tells the sizes.
"""

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from headhunt.analysis import trials
from headhunt.search.launch import prepare
from headhunt.search.plan import Budget, Watcher
from headhunt.search.run import Show, run_search
from headhunt.search.settings import Request
from headhunt.trainables.models.backbones import DEMO, load_backbone, locate
from headhunt.trainables.notes.corpus import Corpus, read_corpus
from headhunt.trainables.notes.features import encode_features, fastest_precision, tokenize
from headhunt.trainables.notes.split import Part
from headhunt.trainables.notes.synthetic import write_synthetic_notes

from . import adapter_space

CPU = torch.device("cpu")
TOKENS, SLOTS = 256, 2
FAIR = 0.01  # of F1


@dataclass(frozen=True, slots=True)
class Ran:
    """One engine's run."""

    name: str
    trials: int
    seconds: float  # of all of them, on the wall
    once: float  # of them, before the first trial begins
    best: list[float]  # F1 of each trial at its best epoch

    def hourly(self, study: int) -> float:
        """Trials an hour in a study of so many, by what one of these cost."""
        return study / (self.once + study * (self.seconds - self.once) / self.trials) * 3600


@dataclass(frozen=True, slots=True)
class Problem:
    """What all of them are given."""

    notes: Path
    corpus: Corpus
    epochs: int

    def part(self, part: Part) -> np.ndarray:
        """Places of the notes."""
        return self.corpus.indices(part)


# --- headhunt -----------------------------------------------------------------------------------


def run_headhunt(problem: Problem, count: int, store: Path) -> tuple[Ran, list[float]]:
    """A search of so many adapters after its two controls; and their learning rates."""
    times: dict[str, float] = {"begin": time.perf_counter()}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: times.update({name: time.perf_counter()})

    request = Request(
        notes=problem.notes,
        study="peers",
        store=store,
        given={
            "space": f"{Path(adapter_space.__file__)}:adapter",
            "backbones": (DEMO,),
            "sampler": "random",
            "rungs": False,
            "patience": 0,
            "max_epochs": problem.epochs,
            "max_tokens": TOKENS,
        },
        budget=Budget(trials=count + 2),
        slots=SLOTS,
    )
    show = Show(
        watcher=Watcher(on_end=note("end")),
        on_encoding=lambda *_: None,
        on_encoded=lambda _: None,
        on_plan=note("plan"),
        on_tick=lambda: None,
    )
    run_search(prepare(request), show)
    frame = trials("peers", store=store)
    ours = frame[frame["role"] == "search"]
    assert (ours["state"] == "complete").all(), ours["reason"].unique()
    ran = Ran(
        "headhunt",
        len(ours),
        times["end"] - times["begin"],
        times["plan"] - times["begin"],
        ours["f1"].tolist(),
    )
    return ran, ours["learning_rate"].tolist()


# --- the model as one would write it ------------------------------------------------------------


class Adapter(nn.Module):
    """h + W_up gelu(W_down h), the mean over tokens, a classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 64), nn.Linear(64, width)
        self.classifier = nn.Linear(width, classes)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Logits, [notes, classes]."""
        states = hidden + self.up(F.gelu(self.down(hidden)))
        weights = mask.unsqueeze(-1).to(states.dtype)
        return self.classifier((states * weights).sum(1) / weights.sum(1))


class Whole(nn.Module):
    """The frozen encoder with the head on it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        from transformers import AutoModel

        self.encoder = AutoModel.from_pretrained(locate(DEMO)).requires_grad_(False)
        self.head = Adapter(self.encoder.config.hidden_size, classes)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Loss and logits, as the Trainer wants them."""
        self.encoder.eval()
        with torch.no_grad():
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
        logits = self.head(hidden, attention_mask)
        return {"loss": F.cross_entropy(logits.float(), labels), "logits": logits}


def tokenised(problem: Problem, part: Part) -> list[dict[str, Any]]:
    """The part's notes for the Trainer's collator."""
    from transformers import AutoTokenizer

    ids = tokenize(problem.corpus, AutoTokenizer.from_pretrained(locate(DEMO)), TOKENS)
    return [
        {"input_ids": ids[place], "labels": int(problem.corpus.labels[place])}
        for place in problem.part(part)
    ]


# --- transformers.Trainer -----------------------------------------------------------------------


def run_trainer(problem: Problem, rates: list[float], folder: Path) -> Ran:
    """`Trainer.hyperparameter_search` with Optuna."""
    from transformers import (
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

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
        model_init=lambda _=None: Whole(classes),
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=problem.epochs,
            per_device_train_batch_size=adapter_space.BATCH,
            per_device_eval_batch_size=adapter_space.BATCH,
            weight_decay=adapter_space.WEIGHT_DECAY,
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
            "f1": f1_score(found.label_ids, found.predictions.argmax(1), average="macro")
        },
        callbacks=[Remember()],
    )
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


# --- Ray Tune -----------------------------------------------------------------------------------


def train_in_tune(config: dict[str, Any], *, problem: Problem, features: str) -> None:
    """One trial as Ray's documentation writes it; on stored features where a folder is given."""
    from ray import tune

    torch.set_num_threads(1)
    torch.manual_seed(0)
    classes = len(problem.corpus.label_names)
    labels = torch.from_numpy(problem.corpus.labels)
    if features:
        stored = torch.from_numpy(np.load(f"{features}/rows.npy", mmap_mode="c"))
        offsets = np.load(f"{features}/offsets.npy")
        model: nn.Module = Adapter(stored.shape[1], classes)

        def logits_of(notes: np.ndarray) -> Tensor:
            parts = [stored[offsets[n] : offsets[n + 1]].float() for n in notes]
            hidden = nn.utils.rnn.pad_sequence(parts, batch_first=True)
            lengths = torch.tensor([len(part) for part in parts])
            return model(hidden, torch.arange(hidden.shape[1])[None, :] < lengths[:, None])
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(locate(DEMO))
        model = Whole(classes)

        def logits_of(notes: np.ndarray) -> Tensor:
            given = tokenizer(
                [problem.corpus.texts[n] for n in notes],
                truncation=True,
                max_length=TOKENS,
                padding=True,
                return_tensors="pt",
            )
            bf16 = fastest_precision(CPU) == "bf16"
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                found = model(given["input_ids"], given["attention_mask"], labels[notes])
            return found["logits"].float()

    training, validation = problem.part(Part.TRAIN), problem.part(Part.VALIDATION)
    moved = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(moved, lr=config["rate"], weight_decay=0.01)
    size = adapter_space.BATCH
    steps = problem.epochs * -(-len(training) // size)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=steps)
    for epoch in range(problem.epochs):
        order = np.random.default_rng(epoch).permutation(training)
        model.train()
        for start in range(0, len(order), size):
            notes = order[start : start + size]
            F.cross_entropy(logits_of(notes), labels[notes]).backward()
            optimiser.step()
            decay.step()
            optimiser.zero_grad()
        model.eval()
        with torch.no_grad():
            found = [
                logits_of(validation[start : start + size]).argmax(1)
                for start in range(0, len(validation), size)
            ]
        score = f1_score(problem.corpus.labels[validation], torch.cat(found), average="macro")
        tune.report({"f1": score})


def run_tune(problem: Problem, rates: list[float], folder: Path, features: Path | None) -> Ran:
    """A Tuner with OptunaSearch over the same rates, two trials at a time."""
    import ray
    from ray import cloudpickle, tune
    from ray.tune.search.optuna import OptunaSearch

    import benchmarks

    for module in (benchmarks, adapter_space):
        cloudpickle.register_pickle_by_value(module)
    begin = time.perf_counter()
    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=40)
    try:
        tuner = tune.Tuner(
            tune.with_parameters(train_in_tune, problem=problem, features=str(features or "")),
            param_space={"rate": tune.loguniform(*adapter_space.RATES)},
            tune_config=tune.TuneConfig(
                metric="f1",
                mode="max",
                num_samples=len(rates),
                search_alg=OptunaSearch(points_to_evaluate=[{"rate": rate} for rate in rates]),
            ),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        )
        once = time.perf_counter() - begin
        results = tuner.fit()
        seconds = time.perf_counter() - begin
    finally:
        ray.shutdown()
    assert not results.errors, results.errors
    frame = results.get_dataframe(filter_metric="f1", filter_mode="max")
    name = "Ray Tune, features stored" if features else "Ray Tune, encoder inside"
    return Ran(name, len(rates), seconds, once, frame["f1"].tolist())


# --- the table ----------------------------------------------------------------------------------


def compare(ran: list[Ran], study: int) -> str:
    """As a table; the first one is headhunt."""
    ours = ran[0].hourly(study)
    lines = [
        f"trials an hour in a study of {study}, all that is needed once counted",
        f"{'':28}{'ran':>5}{'s a trial':>11}{'trials/h':>10}{'ratio':>8}{'best F1':>9}{'mean F1':>9}",
    ]
    for one in ran:
        each = (one.seconds - one.once) / one.trials
        shared = ran[0].best[: one.trials]
        fair = abs(max(shared) - max(one.best)) <= FAIR
        lines.append(
            f"{one.name:28}{one.trials:>5}{each:>11.3f}{one.hourly(study):>10,.1f}"
            f"{ours / one.hourly(study):>8.1f}{max(one.best):>9.3f}{np.mean(one.best):>9.3f}"
            f"  headhunt's of these: {max(shared):.3f}{'' if fair else ' NOT FAIR'}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run all four, and the two short ones."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--notes", type=Path, help="a file of notes (default: synthetic ones)")
    parser.add_argument("--count", type=int, default=1200, help="synthetic notes (default 1200)")
    parser.add_argument("--trials", type=int, default=100, help="headhunt's (default 100)")
    parser.add_argument("--epochs", type=int, default=10, help="of a trial (default 10)")
    parser.add_argument("--peer-trials", type=int, default=2, help="of each peer (default 2)")
    parser.add_argument("--only", default="1234", help="which of them (default 1234)")
    given = parser.parse_args()
    os.environ.update(TUNE_DISABLE_STRICT_METRIC_CHECKING="1", RAY_USAGE_STATS_ENABLED="0")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        notes = given.notes or folder / "notes.csv"
        if not given.notes:
            write_synthetic_notes(notes, given.count)
        problem = Problem(notes, read_corpus(notes), given.epochs)
        ours, rates = run_headhunt(problem, given.trials, folder / "store")
        ran = [ours]
        few = rates[: given.peer_trials]
        print(json.dumps({"notes": len(problem.corpus), "epochs": given.epochs}), flush=True)
        if "2" in given.only:
            ran.append(run_trainer(problem, few, folder / "trainer"))
        if "3" in given.only:
            ran.append(run_tune(problem, few, folder / "tune", None))
        if "4" in given.only:
            made, _ = encode_features(
                problem.corpus,
                load_backbone(DEMO, folder),
                folder,
                max_tokens=TOKENS,
                precision=fastest_precision(CPU),
                device=CPU,
            )
            ran.append(run_tune(problem, rates[:10], folder / "stored", made))
        print(compare(ran, given.trials))


if __name__ == "__main__":
    main()

"""Ray Tune with `OptunaSearch`, as its documentation writes it."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import cloudpickle, tune
from ray.tune.search.optuna import OptunaSearch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer

import benchmarks
from headhunt.trainables.models.backbones import DEMO, load_backbone, locate
from headhunt.trainables.notes.features import encode_features, fastest_precision
from headhunt.trainables.notes.split import Part

from .problem import CPU, SLOTS, TOKENS, Adapter, Problem, Ran, Whole
from .space import BATCH, RATES, WEIGHT_DECAY


def train_in_tune(config: dict[str, Any], *, problem: Problem, features: str) -> None:
    """One trial as Ray's documentation writes it; on stored features where a folder is given."""
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
    optimiser = torch.optim.AdamW(moved, lr=config["rate"], weight_decay=WEIGHT_DECAY)
    size = BATCH
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


def run_tune(problem: Problem, rates: list[float], folder: Path, *, stored: bool) -> Ran:
    """A Tuner with OptunaSearch over the same rates, two trials at a time."""
    cloudpickle.register_pickle_by_value(benchmarks)
    begin = time.perf_counter()
    features = _stored(problem, folder) if stored else None
    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False, logging_level=40)
    try:
        tuner = tune.Tuner(
            tune.with_parameters(train_in_tune, problem=problem, features=str(features or "")),
            param_space={"rate": tune.loguniform(*RATES)},
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


def _stored(problem: Problem, folder: Path) -> Path:
    made, _ = encode_features(
        problem.corpus,
        load_backbone(DEMO, folder),
        folder,
        max_tokens=TOKENS,
        precision=fastest_precision(CPU),
        device=CPU,
    )
    return made

"""What training makes of corpora at the edges of what is read: none of them stops a trial.

Losses that are not finite stand in `training/test_loop.py` and `test_runner.py`, classes that a
part lacks in `training/test_metrics.py` and `models/test_baselines.py`.
"""

import csv
import math

import pytest
import torch

from headhunt.spaces.configs import BaselineConfig, HeadConfig, Optimisation, Pooling, ScratchConfig
from headhunt.spaces.heads import LinearHead, TinyAttentionHead
from headhunt.spaces.record import State
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.models.backbones import BackboneError, check, load_backbone
from headhunt.trainables.notes.corpus import Part, read_corpus
from headhunt.trainables.notes.features import encode_features
from headhunt.trainables.notes.tokens import encode_tokens
from headhunt.trainables.runner import run_trial
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.states import StateFolder

from .backbone_dirs import edit_json, make_backbone

CPU = torch.device("cpu")
MAX_TOKENS = 32
WEIGHED = Optimisation(learning_rate=1e-2, class_weights=True)
HEAD = HeadConfig(backbone="tiny", head=LinearHead(), optimisation=WEIGHED)
SCRATCH = ScratchConfig(width=8, feed_forward=8, vocabulary=200, optimisation=WEIGHED)
CONFIGS = [
    HEAD,
    HeadConfig(
        backbone="tiny", head=TinyAttentionHead(), pooling=Pooling.ATTENTION, optimisation=WEIGHED
    ),
    SCRATCH,
    BaselineConfig(model="tfidf_lr"),
    BaselineConfig(model="tfidf_mlp", hidden=8),
]
HUNDRED_THOUSAND = " ".join(f"jour{place % 900}" for place in range(100_000))
NO_WORD = "\u2028\u200b\x7f"  # marks that normalisers take away


def twenty_notes():
    """The fewest that a lab would try with: three in validation."""
    return [
        (f"jour {place}, {('calme', 'fort')[place % 2]}", "ab"[place % 2]) for place in range(20)
    ]


def fifty_classes():
    """Three notes a class: one in each part, and most classes in no batch."""
    return [(f"note {place} de classe {place % 50}", f"c{place % 50}") for place in range(150)]


def odd_lengths():
    """A note of 100,000 words beside some of none that a tokenizer knows."""
    ends = [(HUNDRED_THOUSAND, "a"), *((NO_WORD + "\u200b" * place, "b") for place in range(4))]
    return [*ends, *twenty_notes()]


@pytest.fixture(params=[twenty_notes, fifty_classes, odd_lengths], ids=lambda make: make.__name__)
def corpus(request, tmp_path):
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *request.param()])
    return read_corpus(path)


def settings():
    return TrainingSettings(max_epochs=2, patience=0, batch_limit=8, max_tokens=MAX_TOKENS)


def test_every_kind_of_config_is_complete_with_finite_numbers(corpus, tmp_path):
    backbone = load_backbone(str(make_backbone(tmp_path / "tiny")), tmp_path)
    features, _ = encode_features(
        corpus,
        backbone,
        tmp_path,
        max_tokens=MAX_TOKENS,
        precision="fp32",
        device=CPU,
    )
    materials = Materials(
        settings=settings(),
        states=StateFolder(tmp_path / "trials"),
        cache=tmp_path,
        features={"tiny": features},
    )
    assert Ragged.open(features).lengths.max() <= MAX_TOKENS
    for number, config in enumerate(CONFIGS):
        assignment = Assignment(number=number, config=config, seed=1)

        steps = list(run_trial(assignment, corpus, materials, device=CPU, device_fraction=0.0))

        assert steps[-1].outcome is not None
        assert (steps[-1].outcome.state, config.model) == (State.COMPLETE, config.model)
        reports = [step.report for step in steps if step.report]
        assert reports
        for report in reports:
            assert 0 <= report.f1 <= 1
            assert math.isfinite(report.validation_loss)
            assert math.isfinite(report.train_loss)


def test_a_class_of_three_notes_is_in_each_part_of_fifty_classes(tmp_path):
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *fifty_classes()])

    corpus = read_corpus(path)

    for part in Part:
        assert len(set(corpus.labels[corpus.indices(part)])) == 50


def test_a_note_that_no_token_is_left_of_is_its_start_alone(tmp_path):
    path = tmp_path / "notes.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *odd_lengths()])
    corpus = read_corpus(path)

    lengths = Ragged.open(
        encode_tokens(corpus, tmp_path, vocabulary=200, max_tokens=MAX_TOKENS)
    ).lengths

    assert lengths[0] == MAX_TOKENS
    assert lengths.min() >= 1


def test_a_tokenizer_that_may_leave_nothing_of_a_note_is_refused(tmp_path):
    folder = make_backbone(tmp_path / "bare")
    edit_json(folder / "tokenizer.json", post_processor=None)

    with pytest.raises(BackboneError, match=r"'bare' puts no token of its own around a note"):
        check(str(folder))

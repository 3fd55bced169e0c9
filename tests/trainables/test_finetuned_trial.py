"""A trial whose backbone trains, as a worker runs it: from an assignment to its files on disk."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from headhunt.spaces.configs import HeadConfig, Mode, Optimisation
from headhunt.spaces.heads import LinearHead
from headhunt.spaces.record import State
from headhunt.trainables.assignment import Assignment, Materials, TrainingSettings
from headhunt.trainables.models.backbones import identity
from headhunt.trainables.notes.backbone_tokens import encode_backbone_tokens
from headhunt.trainables.notes.cache import cache_dir, read_meta
from headhunt.trainables.runner import run_trial
from headhunt.trainables.training.batches import Ragged
from headhunt.trainables.training.states import Kind, StateFolder

from .backbone_dirs import edit_json, make_backbone

LIMIT = 40


@pytest.fixture
def backbone(tmp_path):
    return make_backbone(tmp_path / "tiny")


@pytest.fixture
def materials(backbone, small_corpus, tmp_path):
    cache = cache_dir(tmp_path)
    tokens = encode_backbone_tokens(small_corpus, str(backbone), cache, max_tokens=LIMIT)
    settings = TrainingSettings(max_epochs=2, patience=0, batch_limit=8, max_tokens=LIMIT)
    return Materials(
        settings=settings,
        states=StateFolder(tmp_path / "trials"),
        cache=cache,
        features={},
        tokens={str(backbone): tokens},
    )


def steps(backbone, corpus, materials, **changes):
    given = {"mode": Mode.LORA, "lora_rank": 2, "lora_alpha": 4, **changes}
    config = HeadConfig(
        backbone=str(backbone),
        head=LinearHead(),
        optimisation=Optimisation(batch_size=4, accumulation=2),
        **given,
    )
    assignment = Assignment(number=0, config=config, seed=1)
    device = torch.device("cpu")
    return list(run_trial(assignment, corpus, materials, device=device, device_fraction=0.0))


def test_it_completes_and_leaves_only_what_it_trained(backbone, small_corpus, materials):
    done = steps(backbone, small_corpus, materials)

    outcome = done[-1].outcome
    assert (outcome.state, len(done)) == (State.COMPLETE, 2)
    assert outcome.trainable_parameters
    assert outcome.total_parameters
    assert outcome.trainable_parameters < outcome.total_parameters
    for kind in Kind:
        (saved,) = materials.states.find(0, kind)
        names = [n.removeprefix("model:") for n in saved.tensors if "optimiser:" not in n]
        assert saved.metadata["backbone"] == identity(backbone)
        assert names
        assert all("lora_" in name or name.startswith("head.") for name in names)


def test_the_notes_are_the_tokenizers_numbers_cut_at_the_limit(backbone, small_corpus, materials):
    folder = materials.tokens[str(backbone)]
    ragged = Ragged.open(folder)

    assert ragged.rows.dtype is torch.int32
    assert len(ragged.lengths) == len(small_corpus.texts)
    assert ragged.lengths.max() <= LIMIT
    assert set(ragged.rows[ragged.offsets[:-1]].tolist()) == {0}  # <s>
    assert read_meta(folder)["identity"] == identity(backbone)


def test_tokens_are_made_once_and_again_when_the_backbones_files_change(
    backbone, small_corpus, materials
):
    def made():
        return encode_backbone_tokens(
            small_corpus, str(backbone), materials.cache, max_tokens=LIMIT
        )

    first = made()
    assert made() == first
    edit_json(backbone / "config.json", note="changed")
    assert made() != first


def test_tokens_are_of_the_texts_whatever_their_labels(backbone, small_corpus, materials):
    texts = small_corpus.texts
    others = [
        replace(small_corpus, labels=small_corpus.labels[::-1], digest="of others"),
        replace(small_corpus, texts=("other", *texts[1:])),
        replace(small_corpus, texts=texts[::-1]),
    ]

    own, relabelled, changed, turned = (
        encode_backbone_tokens(corpus, str(backbone), materials.cache, max_tokens=LIMIT)
        for corpus in (small_corpus, *others)
    )

    assert relabelled == own
    assert len({own, changed, turned}) == 3


def test_another_backbone_on_a_worker_ends_the_trial_and_says_so(backbone, small_corpus, materials):
    edit_json(backbone / "config.json", note="changed")

    last = steps(backbone, small_corpus, materials)[-1]

    assert last.outcome.state is State.FAILED
    assert "differ between the machines of this study" in last.outcome.reason


def test_a_backbone_that_is_gone_ends_the_trial_as_failed(backbone, small_corpus, materials):
    shutil.rmtree(backbone)

    last = steps(backbone, small_corpus, materials)[-1]

    assert last.outcome.state is State.FAILED
    assert json.dumps(last.outcome.to_dict())

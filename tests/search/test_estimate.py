"""What a config would need, before there is a study."""

from dataclasses import replace

import numpy as np
import pytest

from headhunt.search.estimate import Counted, Estimator, gallery, with_batch
from headhunt.spaces.configs import HeadConfig, Mode, Optimisation, ScratchConfig
from headhunt.spaces.heads import GrnHead, LinearHead
from headhunt.trainables.card.cards import CARDS
from headhunt.trainables.models.backbones import KNOWN, BackboneError, known_config
from headhunt.trainables.notes.corpus import read_corpus

P620 = CARDS["p620"]
FULL = HeadConfig(backbone="camembert-bio", head=LinearHead(), mode=Mode.FULL, checkpointing=True)


def estimator(card=P620, notes=None, backbone="camembert-bio", max_tokens=64):
    return Estimator(card, notes or Counted(notes=100), backbone, max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("name", "millions"), [("camembert-bio", 110.0), ("drbert", 110.0), ("alibert", 116.2)]
)
def test_the_studys_encoders_need_no_file_and_have_their_published_size(name, millions):
    config = HeadConfig(backbone=name, head=LinearHead())

    found = estimator(backbone=name).footprint(config)

    frozen = found.total_parameters - found.trainable_parameters
    assert frozen / 1e6 == pytest.approx(millions, abs=0.05)
    assert found.encoding_bytes > 4 * frozen
    assert known_config(KNOWN[name].id) == known_config(name)


def test_an_encoder_of_which_nothing_is_known_is_said_so():
    with pytest.raises(BackboneError, match="neither on this machine nor to be had from the hub"):
        known_config("nobody/nothing")


def test_the_largest_batch_fits_and_one_more_does_not():
    find = estimator(CARDS["gtx1050ti"])
    estimate = find(FULL)

    assert estimate.largest_batch > 0
    fits = find.footprint(with_batch(FULL, estimate.largest_batch))
    over = find.footprint(with_batch(FULL, estimate.largest_batch + 1))
    assert fits.excess_bytes <= 0 < over.excess_bytes


def test_the_longest_notes_fit_and_one_token_more_does_not():
    config = with_batch(replace(FULL, checkpointing=False), 4)
    small = replace(P620, memory_bytes=2400 * 1024**2)
    longest = estimator(small)(config).largest_tokens

    assert 0 < longest < 512
    assert estimator(small, max_tokens=longest).footprint(config).excess_bytes <= 0
    assert estimator(small, max_tokens=longest + 1).footprint(config).excess_bytes > 0


def test_a_card_that_holds_not_even_the_weights_has_no_largest_batch():
    tiny = replace(P620, memory_bytes=P620.reserve_bytes + 100 * 1024**2)

    estimate = estimator(tiny)(FULL)

    assert not estimate.fits
    assert (estimate.largest_batch, estimate.largest_tokens) == (0, 0)


def test_notes_that_are_given_are_counted_as_a_search_counts_them(tmp_path):
    texts = [f"{'mot ' * (n % 7 + 1)}{n}" for n in range(40)]
    file = tmp_path / "notes.csv"
    file.write_text(
        "text,label\n" + "".join(f"{t},{n % 2}\n" for n, t in enumerate(texts)), encoding="utf-8"
    )
    corpus = read_corpus(file)

    find = estimator(notes=corpus)
    estimate = find(ScratchConfig(vocabulary=200))

    assert estimate.training_notes == 28
    workload, vocabulary = find._scratch_workload(200)
    assert 0 < vocabulary <= 200
    assert workload.lengths.max() > workload.lengths.min()
    assert np.all(workload.lengths <= 64)


def test_the_gallery_has_every_head_every_mode_and_both_scratch_models():
    shown = gallery("camembert-bio")

    heads = [c for c in shown if isinstance(c, HeadConfig)]
    assert {c.model for c in heads} == {
        *("linear", "adapter", "lightweight", "tiny_attention", "grn")
    }
    assert {c.mode for c in heads} == set(Mode)
    assert {c.model for c in shown if isinstance(c, ScratchConfig)} == {"transformer", "moe"}


def test_more_notes_take_more_seconds_and_the_same_memory():
    config = HeadConfig(
        backbone="camembert-bio", head=GrnHead(), optimisation=Optimisation(batch_size=4)
    )

    few, many = (estimator(notes=Counted(notes=n)).footprint(config) for n in (100, 1000))

    assert few.peak_bytes == many.peak_bytes
    assert many.epoch_seconds == pytest.approx(10 * few.epoch_seconds, rel=0.05)

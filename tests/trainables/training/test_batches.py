import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from headhunt.spaces.configs import Pooling
from headhunt.trainables.training.batches import (
    POOL_BATCHES,
    Ragged,
    evaluation_batches,
    training_batches,
)

CPU = torch.device("cpu")
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=200)
SIZES = st.integers(1, 16)
SEEDS = st.integers(0, 2**63 - 1)


def ragged(lengths, width=None):
    """Rows that say which note and token they are: 100 * note + token, from 1."""
    ids = [100 * note + token for note, size in enumerate(lengths, 1) for token in range(size)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if width is None:
        return Ragged(torch.tensor(ids, dtype=torch.int32), offsets)
    states = torch.tensor(ids, dtype=torch.float16)[:, None] + torch.arange(width) / 4
    return Ragged(states.half(), offsets)


# --- which notes are in a batch --------------------------------------------------------------


@given(LENGTHS, SIZES, SEEDS)
@example(lengths=[1] * 9, batch_size=8, seed=0)
def test_an_epoch_has_each_note_once_in_batches_no_larger_than_asked(lengths, batch_size, seed):
    notes = np.arange(len(lengths))[::2]  # the corpus has others too

    batches = training_batches(notes, np.array(lengths), batch_size=batch_size, seed=seed)

    assert sorted(np.concatenate(batches)) == list(notes)
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= batch_size


@given(LENGTHS, SIZES)
def test_a_pass_over_validation_has_each_note_once_from_short_to_long(lengths, batch_size):
    notes = np.arange(len(lengths))[1::2] if len(lengths) > 1 else np.arange(1)

    batches = evaluation_batches(notes, np.array(lengths), batch_size=batch_size)

    order = np.concatenate(batches)
    assert sorted(order) == list(notes)
    assert list(np.array(lengths)[order]) == sorted(np.array(lengths)[notes])
    assert max(len(b) for b in batches) <= batch_size


@given(LENGTHS, SIZES, SEEDS)
def test_an_epochs_batches_follow_from_its_seed_alone(lengths, batch_size, seed):
    def batches():
        made = training_batches(
            np.arange(len(lengths)), np.array(lengths), batch_size=batch_size, seed=seed
        )
        return [list(b) for b in made]

    first = batches()
    np.random.seed(1)

    assert batches() == first


def test_epochs_differ_in_their_batches_and_in_their_order():
    lengths = np.random.default_rng(0).integers(1, 60, 400)

    one, other = (training_batches(np.arange(400), lengths, batch_size=8, seed=s) for s in (1, 2))

    assert {frozenset(b) for b in one} != {frozenset(b) for b in other}
    assert [lengths[b].max() for b in one] != sorted(lengths[b].max() for b in one)


def test_a_batch_has_notes_of_like_lengths_so_that_padding_stays_small():
    lengths = np.random.default_rng(0).integers(1, 257, 8 * POOL_BATCHES)

    batches = training_batches(np.arange(len(lengths)), lengths, batch_size=8, seed=0)

    padded = sum(len(b) * lengths[b].max() for b in batches)
    assert padded < 1.1 * lengths.sum()


# --- what a batch holds ----------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.data())
def test_ids_stand_before_their_padding_and_the_mask_says_where(lengths, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))

    ids, mask = ragged(lengths).batch(np.array(chosen), CPU)

    longest = max(lengths[note] for note in chosen)
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert ids.tolist() == [
        [100 * (note + 1) + token for token in range(lengths[note])]
        + [0] * (longest - lengths[note])
        for note in chosen
    ]
    assert torch.equal(mask, ids > 0)


def test_states_are_widened_and_padded_with_zeros():
    notes = ragged([2, 3], width=4)

    states, mask = notes.batch(np.array([1, 0]), CPU)

    assert states.dtype == torch.float32
    assert states.shape == (2, 3, 4)
    assert torch.equal(states[1, :2], notes.rows[:2].float())
    assert torch.equal(states[0], notes.rows[2:].float())
    assert states[1, 2].tolist() == [0.0] * 4
    assert mask.tolist() == [[True, True, True], [True, True, False]]


def test_what_is_pooled_is_one_row_a_note_in_single_precision():
    notes = ragged([2, 3], width=4)

    mean, largest, first = (notes.pooled(Pooling(kind)) for kind in ("mean", "max", "first"))

    parts = notes.rows[:2].float(), notes.rows[2:].float()
    torch.testing.assert_close(mean.rows, torch.stack([part.mean(0) for part in parts]))
    assert torch.equal(largest.rows, torch.stack([part.amax(0) for part in parts]))
    assert torch.equal(first.rows, torch.stack([part[0] for part in parts]))
    assert mean.lengths.tolist() == [1, 1]
    with pytest.raises(ValueError, match="pool without learning"):
        notes.pooled(Pooling.ATTENTION)


@pytest.mark.parametrize(("width", "expected"), [(None, 1), (4, 4)])
def test_a_file_is_mapped_as_it_was_written_and_stays_as_it_was(tmp_path, width, expected):
    notes = ragged([2, 3], width)
    np.save(tmp_path / "rows.npy", notes.rows.numpy())
    np.save(tmp_path / "offsets.npy", notes.offsets)
    before = (tmp_path / "rows.npy").read_bytes()

    opened = Ragged.open(tmp_path)

    assert torch.equal(opened.rows, notes.rows)
    assert opened.lengths.tolist() == [2, 3]
    assert opened.width == expected
    opened.rows.zero_()
    assert (tmp_path / "rows.npy").read_bytes() == before

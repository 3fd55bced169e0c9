import pytest
import torch

from headhunt.spaces.record import EpochReport
from headhunt.trainables.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from headhunt.trainables.training.states import Kind, Saved, StateFolder


@pytest.fixture
def store(tmp_path):
    return StateFolder(tmp_path)


def report(epoch, f1=0.1 + 0.2):
    return EpochReport(
        epoch=epoch,
        f1=f1,
        accuracy=0.7,
        precision=1 / 3,
        recall=0.25,
        validation_loss=0.693,
        train_loss=float("inf"),
        wall_seconds=0.01,
        cpu_seconds=0.02,
    )


def checkpoint(epochs=2):
    generator = torch.Generator().manual_seed(epochs)
    return Checkpoint(
        model={
            "structure.up.weight": torch.randn(3, 4, generator=generator),
            "counts": torch.arange(3),
        },
        optimiser={
            "structure.up.weight.exp_avg": torch.randn(3, 4, generator=generator),
            "structure.up.weight.step": torch.tensor(7.0),
        },
        reports=tuple(report(epoch) for epoch in range(1, epochs + 1)),
        config_hash="0123456789abcdef",
        backbone="an encoder",
    )


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def load(store, config_hash="0123456789abcdef", backbone="an encoder"):
    return load_checkpoint(store, 3, config_hash, backbone)


def test_a_checkpoint_is_read_as_it_was_written(store):
    written = checkpoint()

    save_checkpoint(store, 3, written)
    read = load(store)

    assert read is not None
    assert same(read.model, written.model)
    assert same(read.optimiser, written.optimiser)
    assert (read.reports, read.config_hash) == (written.reports, written.config_hash)
    assert read.backbone == "an encoder"


def test_a_checkpoint_replaces_the_one_before(store):
    save_checkpoint(store, 3, checkpoint(epochs=1))
    save_checkpoint(store, 3, checkpoint(epochs=2))

    (saved,) = store.find(3, Kind.CHECKPOINT)
    assert saved.epoch == 2


def test_where_there_is_no_checkpoint_there_is_none(store):
    save_checkpoint(store, 4, checkpoint())

    assert load(store) is None


def test_a_checkpoint_of_another_config_or_backbone_is_not_taken(store):
    save_checkpoint(store, 3, checkpoint())

    assert load(store, config_hash="fedcba9876543210") is None
    assert load(store, backbone="another") is None


def test_an_earlier_checkpoint_of_the_same_config_is_taken_before_a_later_one_of_another(store):
    store.put(3, Kind.CHECKPOINT, Saved(5, {}, {"config_hash": "another"}))
    save_checkpoint(store, 3, checkpoint(epochs=2))

    read = load(store)

    assert read is not None
    assert len(read.reports) == 2

import pytest
import torch
from safetensors import safe_open

from headhunt.spaces.record import EpochReport
from headhunt.trainables.training import checkpoints
from headhunt.trainables.training.checkpoints import (
    BEST,
    CHECKPOINT,
    Checkpoint,
    load_checkpoint,
    remove_checkpoint,
    remove_weights,
    save_checkpoint,
    write_tensors,
)


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
    )


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def load(folder):
    return load_checkpoint(folder, "0123456789abcdef")


def fail_half_way(tensors, path, metadata):
    path.write_bytes(b"half of it")
    raise OSError(28, "No space left on device")


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    written = checkpoint()

    save_checkpoint(tmp_path / "00003", written)
    read = load(tmp_path / "00003")

    assert read is not None
    assert same(read.model, written.model)
    assert same(read.optimiser, written.optimiser)
    assert (read.reports, read.config_hash) == (written.reports, written.config_hash)


def test_a_checkpoint_replaces_the_one_before(tmp_path):
    save_checkpoint(tmp_path, checkpoint(epochs=1))
    save_checkpoint(tmp_path, checkpoint(epochs=2))

    read = load(tmp_path)

    assert read is not None
    assert len(read.reports) == 2
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


def test_where_there_is_no_checkpoint_there_is_none(tmp_path):
    assert load(tmp_path / "nowhere") is None


def test_a_checkpoint_of_another_config_is_not_taken(tmp_path):
    save_checkpoint(tmp_path, checkpoint())

    assert load_checkpoint(tmp_path, "fedcba9876543210") is None


@pytest.mark.parametrize("kept", [0, 7, 8, 200, -1])
def test_a_torn_checkpoint_is_none(tmp_path, kept):
    save_checkpoint(tmp_path, checkpoint())
    whole = (tmp_path / CHECKPOINT).read_bytes()

    (tmp_path / CHECKPOINT).write_bytes(whole[:kept])

    assert load(tmp_path) is None


def test_a_write_that_fails_leaves_the_old_checkpoint_and_nothing_else(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, checkpoint(epochs=1))
    monkeypatch.setattr(checkpoints, "save_file", fail_half_way)

    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, checkpoint(epochs=2))

    read = load(tmp_path)
    assert read is not None
    assert len(read.reports) == 1
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


def test_tensors_on_a_graph_or_not_contiguous_are_written(tmp_path):
    transposed = torch.arange(6.0).view(2, 3).T
    parameter = torch.nn.Parameter(torch.ones(2))

    write_tensors(tmp_path / BEST, {"t": transposed, "p": parameter}, {"config_hash": "a"})

    with safe_open(tmp_path / BEST, framework="pt") as stored:
        assert torch.equal(stored.get_tensor("t"), transposed)
        assert torch.equal(stored.get_tensor("p"), torch.ones(2))
        assert stored.metadata() == {"config_hash": "a"}


def test_an_ended_trial_keeps_its_best_weights_until_they_are_removed_too(tmp_path):
    folder = tmp_path / "00003"
    save_checkpoint(folder, checkpoint())
    write_tensors(folder / BEST, {"weight": torch.zeros(1)}, {})

    remove_checkpoint(folder)
    assert [p.name for p in folder.iterdir()] == [BEST]

    remove_weights(folder)
    assert not folder.exists()


def test_removing_what_is_not_there_is_no_error(tmp_path):
    remove_checkpoint(tmp_path / "nowhere")
    remove_weights(tmp_path / "nowhere")


def test_what_a_killed_writer_left_goes_with_its_trial(tmp_path):
    folder = tmp_path / "00003"
    folder.mkdir()
    (folder / f".{CHECKPOINT}.4711").touch()
    (folder / f".{BEST}.4711").touch()

    remove_checkpoint(folder)
    remove_weights(folder)

    assert not folder.exists()

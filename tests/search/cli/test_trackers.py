"""The runs that a study becomes for TensorBoard and MLflow, read back with their own readers."""

import os
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from headhunt.analysis import curves, trials
from headhunt.search.cli.trials import app
from headhunt.spaces.record import State

from ...analysis.recorded import TRANSFORMER, Recorded, control, record

RECORDED = [
    control(0.8123),
    Recorded(f1=(0.83, 0.86, 0.85), epoch_seconds=7200.0),
    Recorded(f1=(0.5,), state=State.PRUNED, reason="below its rung"),
    Recorded(state=State.INFEASIBLE, reason="needs 252 MiB more", peak_mib=2000),
    Recorded(f1=(0.9, float("nan")), state=State.FAILED, reason="diverged", config=TRANSFORMER),
    Recorded(f1=(0.4,), state=State.RUNNING),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Nothing here changes it."""
    folder = tmp_path_factory.mktemp("lab") / "store"
    record(folder, RECORDED)
    record(folder, [control(0.5)], study="two")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HEADHUNT_STORE", str(folder))
        yield folder


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def tensorboard(store, tmp_path_factory):
    """Each run's scalars and parameters, by TensorBoard's own reader."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    board = tmp_path_factory.mktemp("board")
    result = run("lab", "--format", "tensorboard", "-o", board)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"tensorboard --logdir {board}" in result.stderr
    read = {}
    for folder in sorted(board.iterdir()):
        events = EventAccumulator(str(folder)).Reload()
        scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
        started = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        told = (
            vars(plugin_data_pb2)["HParamsPluginData"]
            .FromString(started)
            .session_start_info.hparams
        )
        read[folder.name] = scalars, {n: getattr(v, v.WhichOneof("kind")) for n, v in told.items()}
    return read


def test_tensorboard_has_a_run_a_trial_with_its_curve_and_its_costs(tensorboard, store):
    frame = trials("lab", store=store)

    assert list(tensorboard) == [f"lab-0000{number}" for number in range(len(RECORDED))]
    scalars, _ = tensorboard["lab-00001"]
    assert [(e.step, e.value) for e in scalars["f1"]] == [
        (1, pytest.approx(0.83)),
        (2, pytest.approx(0.86)),
        (3, pytest.approx(0.85)),
    ]
    for name in ("f1", "card_hours", "best_epoch", "peak_mib", "measured_peak_mib"):
        (final,) = scalars[f"final/{name}"]
        assert (final.step, final.value) == (3, pytest.approx(frame.loc[1, name]))


def test_tensorboard_has_each_trials_parameters_and_its_honest_state(tensorboard):
    states = [told["state"] for _, told in tensorboard.values()]
    _, told = tensorboard["lab-00001"]

    assert states == [t.state for t in RECORDED]
    assert (told["model"], told["bottleneck"], told["layer_norm"]) == ("adapter", 64, False)
    assert told["learning_rate"] == pytest.approx(1e-3)
    assert tensorboard["lab-00002"][1]["reason"] == "below its rung"
    assert "final/f1" not in tensorboard["lab-00003"][0]  # infeasible: no score
    assert "final/f1" not in tensorboard["lab-00004"][0]
    assert len(tensorboard["lab-00004"][0]["f1"]) == 1  # what is no number is not drawn


@pytest.fixture(scope="module")
def mlflow_runs(store, tmp_path_factory):
    """Each run by MLflow's own reader; whoever is asked to connect is told no."""
    pytest.importorskip("mlflow")
    flow = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("socket.socket.connect", _no_network)
        result = run("lab", "--format", "mlflow", "-o", flow)
    assert (result.exit_code, result.stdout) == (0, ""), result.stderr
    assert "mlflow ui --backend-store-uri sqlite:///" in result.stderr

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{flow / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lab")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return client, {r.info.run_name: r for r in found}


def _no_network(*_args):
    raise AssertionError("something is connected to")


def test_mlflow_has_a_run_a_trial_with_its_curve_its_costs_and_its_state(mlflow_runs, store):
    client, found = mlflow_runs
    frame, epochs = trials("lab", store=store), curves("lab", store=store)

    assert sorted(found) == [f"lab-0000{number}" for number in range(len(RECORDED))]
    for number, (row, recorded) in enumerate(zip(frame.to_dict("records"), RECORDED, strict=True)):
        data = found[f"lab-0000{number}"].data
        assert data.tags["state"] == recorded.state
        assert data.params["model"] == row["model"]
        finals = {k: v for k, v in data.metrics.items() if k.startswith("final/")}
        assert all(value == row[name.removeprefix("final/")] for name, value in finals.items())
        assert ("final/f1" in finals) == (not pd.isna(row["f1"]))
    identity = found["lab-00001"].info.run_id
    history = client.get_metric_history(identity, "f1")
    curve = epochs.loc[epochs["trial"] == 1, ["epoch", "f1"]]
    assert [(m.step, m.value) for m in history] == list(curve.itertuples(index=False, name=None))
    assert [m.timestamp for m in history] == sorted(m.timestamp for m in history)


def test_mlflow_says_finished_of_complete_trials_alone(mlflow_runs):
    _, found = mlflow_runs

    assert [found[name].info.status for name in sorted(found)] == [
        *("FINISHED", "FINISHED", "KILLED", "KILLED", "FAILED", "RUNNING")
    ]


def test_mlflow_is_told_to_tell_nobody(mlflow_runs):
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lab", "--format", "mlflow"], "-o DIR"),
        (["lab", "two", "--format", "tensorboard", "-o", "new"], "one study into a folder"),
        (["nowhere", "--format", "tensorboard", "-o", "new"], "it has: lab, two"),
        (["lab", "--format", "tensorboard", "-o", "store"], "is not empty"),
        (["lab", "--format", "mlflow", "-o", "store"], "is not empty"),
        (["lab", "--format", "tensorboard", "-o", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_what_cannot_be_written_ends_with_2_and_one_message(store, monkeypatch, words, message):
    monkeypatch.chdir(store.parent)

    result = run(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("tracker", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow")]
)
def test_a_missing_extra_is_one_message_with_the_command_that_installs_it(
    store, tmp_path, monkeypatch, tracker, package
):
    for name in [n for n in sys.modules if n.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    result = run("lab", "--format", tracker, "-o", tmp_path / "new")

    assert (result.exit_code, result.stdout) == (2, "")
    assert f"pip install 'headhunt[{tracker}]'" in result.stderr
    assert not (tmp_path / "new").exists()

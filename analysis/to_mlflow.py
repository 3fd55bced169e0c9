"""A study's trials as MLflow runs in an SQLite file: `mlflow ui` on it shows them.

Nothing is sent anywhere: the runs go into a file here, and MLflow's own usage statistics, which are
on unless told otherwise, are turned off before it is imported.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from .runs import FINAL, Run, TrackerError, new_folder

DATABASE = "mlflow.db"
STATUS = {"complete": "FINISHED", "failed": "FAILED", "running": "RUNNING"}
STOPPED = "KILLED"  # pruned or infeasible: MLflow has no word for them, the tag `state` has
_AT_ONCE = 1000  # metrics of one call, by MLflow's own limit
_LONGEST = 5000  # characters of a tag, likewise


def write_mlflow(written: Iterable[Run], folder: Path, experiment: str) -> int:
    """Write the runs into a new or empty folder, as one experiment; how many they are.

    Raises:
        TrackerError: mlflow is not installed, or the folder is not empty.
        OSError: it cannot be written.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = os.environ["DO_NOT_TRACK"] = "true"
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise TrackerError(
            f"--format mlflow needs the package {error.name}: pip install 'headhunt[mlflow]'"
        ) from error
    for name in ("mlflow", "alembic"):  # they tell of each table that they make
        logging.getLogger(name).setLevel(logging.WARNING)
    folder = new_folder(folder).resolve()
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / DATABASE}")
    made = client.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())
    count = 0
    for run in written:
        identity = client.create_run(
            made, start_time=_milliseconds(run.started), run_name=run.name
        ).info.run_id
        client.log_batch(
            identity,
            params=[Param(name, str(value)) for name, value in run.parameters.items()],
            tags=[RunTag(name, value[:_LONGEST]) for name, value in run.tags.items()],
        )
        metrics = (Metric(name, value, when, epoch) for name, value, when, epoch in _metrics(run))
        while part := list(islice(metrics, _AT_ONCE)):
            client.log_batch(identity, metrics=part)
        status = STATUS.get(run.state, STOPPED)
        if status != "RUNNING":
            end = _milliseconds(run.ended if run.ended is not None else run.started)
            client.set_terminated(identity, status, end_time=end)
        count += 1
    return count


def _metrics(run: Run) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, milliseconds since 1970 and epoch of all that has a number."""
    last, end = 0, run.started
    for last, end, metrics in run.curve:
        for name, value in metrics.items():
            yield name, value, _milliseconds(end), last
    for name, value in run.final.items():
        yield f"{FINAL}{name}", value, _milliseconds(run.ended or end), last


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)

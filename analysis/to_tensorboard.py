"""A study's trials as TensorBoard's event files: `tensorboard --logdir DIR` shows them.

A folder a trial. Its epochs are scalars, its score and costs are scalars of the last epoch under
`final/`, and the HPARAMS page has its parameters, its state among them.
"""

from collections.abc import Iterable
from pathlib import Path

from .runs import FINAL, Run, TrackerError, new_folder


def write_tensorboard(written: Iterable[Run], folder: Path) -> int:
    """Write the runs into a new or empty folder; how many they are.

    Raises:
        TrackerError: tensorboardX is not installed, or the folder is not empty.
        OSError: it cannot be written.
    """
    try:
        from tensorboardX import FileWriter
        from tensorboardX.summary import hparams, scalar
    except ImportError as error:
        raise TrackerError(
            f"--format tensorboard needs the package {error.name}: "
            "pip install 'headhunt[tensorboard]'"
        ) from error
    new_folder(folder)
    count = 0
    for run in written:
        writer = FileWriter(str(folder / run.name))
        try:
            final = {f"{FINAL}{name}": value for name, value in run.final.items()}
            told = {**run.parameters, **run.tags}
            for summary in hparams(told, dict.fromkeys(final, 0.0)):
                writer.add_summary(summary, 0, run.started)
            last, end = 0, run.started
            for last, end, metrics in run.curve:
                for name, value in metrics.items():
                    writer.add_summary(scalar(name, value), last, end)
            for name, value in final.items():
                writer.add_summary(scalar(name, value), last, run.ended or end)
        finally:
            writer.close()
        count += 1
    return count

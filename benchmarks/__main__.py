"""Run the benchmarks of the parts and print a line each, with its limit beside it."""

import platform

import torch

from . import (
    busy,
    encoding,
    frame,
    head_epoch,
    overhead,
    prediction,
    report,
    scratch_epoch,
    simulation,
    storage,
)


def main() -> None:
    """Print the machine, then the figures."""
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ", end=""
    )
    print(f"torch {torch.__version__}, {platform.python_version()}")
    parts = (encoding, prediction, head_epoch, scratch_epoch, storage, frame, report, overhead)
    for benchmark in (*parts, simulation, busy):
        print(benchmark.measure(), flush=True)


if __name__ == "__main__":
    main()

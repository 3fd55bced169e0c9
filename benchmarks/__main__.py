"""Run every benchmark and print a line each."""

import platform

import torch

from . import busy, encoding


def main() -> None:
    """Print the machine, then the figures."""
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ", end=""
    )
    print(f"torch {torch.__version__}, {platform.python_version()}")
    for benchmark in (encoding, busy):
        print(benchmark.measure(), flush=True)


if __name__ == "__main__":
    main()

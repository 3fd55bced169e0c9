"""Benchmarks: `make bench`. Their figures stand in `docs/benchmarks.md`, with the machine."""

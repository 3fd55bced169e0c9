"""The device of this machine as a card: what it says of itself, or what it was measured to do.

A calibration runs micro-benchmarks alone, never a model: matrix products for the FLOP rate, copies
and sums for the bandwidth, single operations that neither explains (random numbers, a GELU), and a
chain of tiny steps for what starting an operation costs. Each takes the median of many runs.
"""

import math
import platform
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.kernels import draw_kept
from .cards import ALLOWANCE, CARDS, LARGE_RESERVE, MIB, SMALL_RESERVE, Card, CardError
from .nvml import board
from .trace import count_launches

RUN_SECONDS = 0.25  # of each micro-benchmark
LEAST_RUNS = 7
# A GPU is given some runs at once behind a wait of about 2 ms (at 2 GHz), in which the host
# launches them all: one at a time, a large GPU would be measured by its launches.
QUEUED_RUNS, WAIT_CYCLES = 20, 4_000_000
# Rows of a batch, width in, width out: products like those of encoders and of heads.
PRODUCTS = ((1024, 128, 512), (2048, 384, 384), (2048, 768, 768), (2048, 768, 64))
ATTENTIONS = ((32, 128, 32), (96, 256, 64))  # notes x heads, tokens, width of a head
STREAM_MIB = (1, 4, 16)  # of a tensor
ROWS, COLUMNS = 2048, 512  # of the tensor that single operations are measured on
FORMS = {"PCIE", "SXM"}  # of boards of one name
SLOWER = 1.25  # than the bandwidth explains: from there on an operation has a rate of its own
# Cores of a multiprocessor by compute capability, from NVIDIA's CUDA programming guide.
CORES = {(6, 0): 64, (6, 1): 128, (7, 0): 64, (7, 5): 64, (8, 0): 64, (8, 6): 128, (8, 9): 128}
CORES |= {(9, 0): 128, (10, 0): 128, (12, 0): 128}


def real_card() -> Card:
    """The GPU of this machine by what it says of itself; the table's numbers where it is in it.

    Raises:
        CardError: there is no GPU, or it does not say enough.
    """
    if not torch.cuda.is_available():
        raise CardError(
            "--card auto reads the GPU of this machine, and there is none: name a card, or measure "
            "this processor with `headhunt footprint --calibrate FILE.toml`"
        )
    found: Any = torch.cuda.get_device_properties(0)
    for card in CARDS.values():
        if _is_model(card, found.name) and _about(card.memory_bytes, found.total_memory):
            return _with_memory(card, found)
    clock = getattr(found, "clock_rate", 0) * 1e3
    memory_clock = getattr(found, "memory_clock_rate", 0) * 1e3
    bus = getattr(found, "memory_bus_width", 0)
    cores = CORES.get((found.major, found.minor), 0) * found.multi_processor_count
    watts = board_watts(found)
    known = {"clock rate": clock, "memory clock": memory_clock, "bus width": bus, "power": watts}
    if missing := [name for name, value in {**known, "cores": cores}.items() if not value]:
        raise CardError(
            f"{found.name} does not tell its {', '.join(missing)}: measure it with "
            "`headhunt footprint --calibrate FILE.toml --watts W` and use --card FILE.toml"
        )
    return Card(
        name=found.name,
        memory_bytes=found.total_memory,
        reserve_bytes=_reserve(found.total_memory),
        flops=2.0 * cores * clock,  # a multiplication and an addition a clock
        bandwidth=2.0 * memory_clock * bus / 8,  # double data rate
        watts=float(watts or 0),
        source="memory: read from the device; FLOP/s: its cores x 2 x its clock; bandwidth: its "
        f"memory clock and bus; watts: its power limit by NVML; {ALLOWANCE}",
    )


def _is_model(card: Card, found: str) -> bool:
    """Whether the driver's name is of this line of the table.

    Drivers write "NVIDIA H200" or "NVIDIA A100-PCIE-40GB": brand, form and memory may be there or
    not, but two forms must not contradict each other.
    """
    theirs, ours = (set(re.split(r"[^A-Z0-9]+", name.upper())) for name in (found, card.name))
    forms = {form for form in FORMS for words in (theirs, ours) if form in words}
    memory = re.compile(r"\d{1,2}|GB")
    words = {word for word in ours - FORMS if not memory.fullmatch(word)}
    return words <= theirs and len(forms) < 2


def _about(one: int, other: int) -> bool:
    return abs(one - other) < 0.1 * one


def _with_memory(card: Card, found: Any) -> Card:
    values = {**card.to_dict(), "memory_bytes": found.total_memory}
    return Card(**{**values, "source": f"{card.source}; but memory: read from the device"})


def _reserve(memory: int) -> int:
    return SMALL_RESERVE if memory <= 16 * 1024 * MIB else LARGE_RESERVE


def board_watts(found: Any) -> float | None:
    """The power limit by NVML of the GPU with these properties; None where it does not tell."""
    uuid = getattr(found, "uuid", None)
    its = board(uuid) if uuid else None
    return its.watts() if its else None


def calibrate(watts: float | None = None, on_step: Callable[[str], None] = lambda _: None) -> Card:
    """Measure the device of this machine: its GPU, or its processor on one thread.

    Args:
        watts: of the device under load; None asks NVML.
        on_step: is told what is measured next.

    Raises:
        CardError: its power is not known.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found: Any = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    told_by = "as given" if watts else "its power limit by NVML"
    watts = watts or (board_watts(found) if found else None)
    if not watts:
        raise CardError(
            "how much power the device takes is not known: say it with --watts, as its data sheet "
            "has it (of a processor: its watts over its cores, as one is measured)"
        )
    if found:
        name, memory = found.name, found.total_memory
        reserve = _reserve(memory)
    else:
        name, memory = f"one core of {_processor()}", psutil.virtual_memory().total
        reserve = 300 * MIB  # Python with torch
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        on_step("matrix products")
        flops = _middle(product_rates(device))
        on_step("bandwidth")
        bandwidth = _middle(stream_rates(device))
        on_step("launches")
        launch = launch_seconds(device)
        on_step("single operations")
        rates = dict(element_rates(device, bandwidth, launch))
    finally:
        torch.set_num_threads(threads)
    return Card(
        name=name,
        memory_bytes=memory,
        reserve_bytes=reserve,
        flops=flops,
        bandwidth=bandwidth,
        watts=watts,
        source="FLOP/s, bandwidth, launches and rates: measured by headhunt footprint --calibrate, "
        f"torch {torch.__version__}; memory: read from the machine; watts: {told_by}; {ALLOWANCE}",
        flops_share=1.0,
        bandwidth_share=1.0,
        launch_seconds=launch,
        element_rates=rates,
    )


def _processor() -> str:
    return platform.processor() or platform.machine()


def _middle(rates: list[float]) -> float:
    """The geometric mean: neither the best shape nor the worst."""
    return float(np.exp(np.mean(np.log(rates))))


def run_seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long one run takes: the median of many; of a processor, its own time on this."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    run()
    taken: list[float] = []
    end = time.perf_counter() + RUN_SECONDS
    while len(taken) < LEAST_RUNS or time.perf_counter() < end:
        _wait(device)
        begin = clock()
        run()
        _wait(device)
        taken.append(clock() - begin)
    return float(np.median(taken))


def work_seconds(run: Callable[[], object], device: torch.device) -> float:
    """How long one run keeps the device busy: its launch counts on a processor alone."""
    if device.type != "cuda":
        return run_seconds(run, device)
    run()
    taken: list[float] = []
    end = time.perf_counter() + RUN_SECONDS
    while len(taken) < LEAST_RUNS or time.perf_counter() < end:
        begin, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        _wait(device)
        torch.cuda._sleep(WAIT_CYCLES)
        begin.record()
        for _ in range(QUEUED_RUNS):
            run()
        done.record()
        _wait(device)
        taken.append(begin.elapsed_time(done) / 1000 / QUEUED_RUNS)
    return float(np.median(taken))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def product_rates(device: torch.device) -> list[float]:
    """FLOPs a second of matrix products, as layers and as attention have them."""
    rates = []
    for rows, wide, out in PRODUCTS:
        one = torch.randn(rows, wide, device=device)
        other = torch.randn(out, wide, device=device)
        taken = work_seconds(lambda one=one, other=other: F.linear(one, other), device)
        rates.append(2 * rows * wide * out / taken)
    for count, tokens, wide in ATTENTIONS:
        one = torch.randn(count, tokens, wide, device=device)
        taken = work_seconds(lambda one=one: torch.bmm(one, one.transpose(1, 2)), device)
        rates.append(2 * count * tokens * tokens * wide / taken)
    return rates


def stream_rates(device: torch.device) -> list[float]:
    """Bytes a second of copies and sums, read and written."""
    rates = []
    for size in STREAM_MIB:
        one = torch.randn(size * MIB // 4, device=device)
        other = torch.randn_like(one)
        rates.append(2 * size * MIB / work_seconds(lambda one=one: one.clone(), device))
        summed = work_seconds(lambda one=one, other=other: one + other, device)
        rates.append(3 * size * MIB / summed)
    return rates


def launch_seconds(device: torch.device) -> float:
    """Seconds from Python to the device of one operation: forward and backward over tiny tensors.

    All that PyTorch does around an operation is in it. The update of the weights is not: AdamW's
    is one kernel for all parameters, and no measure of what an operation costs.
    """
    width, rows, layers = 8, 4, 8

    def build() -> nn.Module:
        parts = [(nn.Linear(width, width), nn.LayerNorm(width), nn.GELU()) for _ in range(layers)]
        return nn.Sequential(*[module for part in parts for module in part])

    def step(model: nn.Module, given: Tensor) -> None:
        model(given).sum().backward()
        model.zero_grad()

    model, given = build().to(device), torch.randn(rows, width, device=device)
    taken = run_seconds(lambda: step(model, given), device)
    with torch.device("meta"):
        empty, nothing = build(), torch.empty(rows, width)
        launches = count_launches(empty, lambda: step(empty, nothing))
    return taken / launches


def element_rates(
    device: torch.device, bandwidth: float, launch: float
) -> Iterator[tuple[str, float]]:
    """Elements a second of the operations that the bandwidth alone does not explain."""
    for name, moved_bytes, run in _single_operations(device):
        taken = work_seconds(run, device) - (launch if device.type == "cpu" else 0.0)
        elements = ROWS * COLUMNS
        if taken > SLOWER * moved_bytes * elements / bandwidth:
            yield name, elements / taken


def _single_operations(device: torch.device) -> Iterator[tuple[str, int, Callable[[], object]]]:
    """Operations of the models: name, bytes moved an element, and how to run it."""
    aten = torch.ops.aten
    x, g = (torch.randn(ROWS, COLUMNS, device=device) for _ in range(2))
    flags = torch.zeros_like(x, dtype=torch.bool)
    soft = x.softmax(-1)
    half = x.half()
    unit = torch.ones(COLUMNS, device=device)
    _, mean, spread = aten.native_layer_norm(x, [COLUMNS], unit, unit, 1e-5)
    heads = x.view(8, ROWS // 8, 8, COLUMNS // 8).transpose(1, 2)
    table = torch.randn(1000, COLUMNS, device=device)
    words = torch.randint(1000, (ROWS,), device=device)
    yield "bernoulli_", 1, lambda: draw_kept(x.shape, 0.1, device)
    yield "where", 9, lambda: torch.where(flags, x, 0.0)
    yield "gelu", 8, lambda: F.gelu(x)
    yield "gelu_backward", 12, lambda: aten.gelu_backward(g, x)
    yield "relu", 8, lambda: x.relu()
    yield "threshold_backward", 12, lambda: aten.threshold_backward(g, x, 0)
    yield "elu", 8, lambda: F.elu(x)
    yield "elu_backward", 12, lambda: aten.elu_backward(g, 1, 1, 1, False, x)
    yield "sigmoid", 8, lambda: x.sigmoid()
    yield "sigmoid_backward", 12, lambda: aten.sigmoid_backward(g, soft)
    yield "tanh", 8, lambda: x.tanh()
    yield "tanh_backward", 12, lambda: aten.tanh_backward(g, soft)
    yield "_softmax", 8, lambda: x.softmax(-1)
    yield (
        "_softmax_backward_data",
        12,
        lambda: aten._softmax_backward_data(g, soft, -1, torch.float32),
    )
    yield "native_layer_norm", 8, lambda: F.layer_norm(x, (COLUMNS,), unit, unit)
    yield (
        "native_layer_norm_backward",
        12,
        lambda: aten.native_layer_norm_backward(
            g, x, [COLUMNS], mean, spread, unit, unit, [True, True, True]
        ),
    )
    yield "clone", 8, lambda: heads.clone(memory_format=torch.contiguous_format)
    yield "_to_copy", 6, lambda: half.float()
    yield "sum", 4, lambda: x.sum(0)
    yield "mul", 8, lambda: x * 2.0
    yield "add", 12, lambda: x + g
    yield "mul_", 8, lambda: x.mul_(1.0)
    yield "add_", 12, lambda: x.add_(g, alpha=0.0)
    yield "sqrt", 8, lambda: soft.sqrt()
    yield "div", 8, lambda: x / 2.0
    yield "lerp_", 12, lambda: x.lerp_(g, 0.0)
    yield "addcmul_", 16, lambda: x.addcmul_(g, g, value=0.0)
    yield "addcdiv_", 16, lambda: x.addcdiv_(g, soft, value=0.0)
    yield "embedding", 8, lambda: F.embedding(words, table)
    yield (
        "embedding_dense_backward",
        8,
        lambda: aten.embedding_dense_backward(g, words, 1000, -1, False),
    )


def rated(card: Card) -> str:
    """The card's rates in a line, for people."""
    launch = card.launch_seconds * 1e6
    return (
        f"{card.flops * card.flops_share / 1e9:,.0f} GFLOP/s, "
        f"{card.bandwidth * card.bandwidth_share / 1e9:,.1f} GB/s, {launch:.1f} µs a launch, "
        f"{math.floor(card.limit_bytes / MIB):,} MiB"
    )

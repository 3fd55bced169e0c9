"""What an out-of-memory error means, by what the trial held, asked for and may take."""

import errno

import pytest
import torch
from safetensors import SafetensorError

from headhunt.trainables.card.cap import Cap, ShortOfMemoryError, TooLargeError, cap_of
from headhunt.trainables.card.cards import MIB

LIMIT = 1748 * MIB
TOTAL = 8192 * MIB


class Device:
    """A GPU's functions with numbers that a test sets, and what was asked of it in order."""

    def __init__(self, held_mib: int = 0, free_mib: int = 8192):
        self.held, self.free = held_mib * MIB, free_mib * MIB
        self.asked: list[str | int] = []

    def total_bytes(self):
        return TOTAL

    def free_bytes(self):
        return self.free

    def held_bytes(self):
        return self.held

    def peak_bytes(self):
        return self.held, self.held

    def forget_peak(self):
        self.asked.append("forget")

    def release(self):
        self.asked.append("release")

    def set_limit(self, limit_bytes):
        self.asked.append(limit_bytes)


def cuda_error(asked="500.00 MiB"):
    return torch.OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of 8.00 GiB "
        "of which 6.29 GiB is free. 1.71 GiB allowed; Of the allocated memory 1.20 GiB is "
        "allocated by PyTorch, and 20.00 MiB is reserved by PyTorch but unallocated."
    )


def host_error(asked):
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        f"you tried to allocate {asked} bytes. Error code 12 (Cannot allocate memory)"
    )


def test_before_a_trial_memory_is_given_back_and_the_cards_limit_set():
    device = Device()

    Cap(LIMIT, device).begin()

    assert device.asked == ["release", "forget", LIMIT]


def test_on_a_cpu_nothing_is_to_be_set():
    cap = cap_of(torch.device("cpu"), LIMIT)

    cap.begin()

    assert (cap.device, cap.limit_bytes) == (None, LIMIT)


def test_a_trial_over_the_cap_is_too_large_by_what_it_held_and_asked_for():
    error = Cap(LIMIT, Device(held_mib=1600)).judge(cuda_error("500.00 MiB"))

    assert isinstance(error, TooLargeError)
    assert error.excess_bytes == (1600 + 500) * MIB - LIMIT
    assert str(error) == (
        "measured: needs 2100 MiB, 352 MiB more than the 1748 MiB that the card leaves"
    )


@pytest.mark.parametrize("asked", ["148.00 MiB", "0.14 GiB", "151552.00 KiB"])
def test_a_rounded_figure_that_may_be_over_the_cap_is_over_it_by_a_byte_at_least(asked):
    error = Cap(LIMIT, Device(held_mib=1600)).judge(cuda_error(asked))

    assert isinstance(error, TooLargeError)
    assert error.excess_bytes == 1


def test_a_trial_under_its_cap_on_a_full_device_is_not_to_blame():
    error = Cap(LIMIT, Device(held_mib=600, free_mib=20)).judge(cuda_error("500.00 MiB"))

    assert isinstance(error, ShortOfMemoryError)
    assert str(error).startswith("out of memory on the device, 20 MiB of it free: ")


@pytest.mark.parametrize(("free_mib", "expected"), [(4000, TooLargeError), (9, ShortOfMemoryError)])
def test_an_error_that_tells_no_size_is_judged_by_what_the_device_has_free(free_mib, expected):
    device = Device(held_mib=1700, free_mib=free_mib)

    error = Cap(LIMIT, device).judge(torch.OutOfMemoryError("CUDA out of memory."))

    assert type(error) is expected
    if isinstance(error, TooLargeError):
        assert error.excess_bytes == 1


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: out of memory",
        "CUDA driver error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ...",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    ],
)
def test_what_allocates_past_the_cap_fails_because_the_device_is_full(told):
    error = Cap(LIMIT, Device(held_mib=1740, free_mib=5)).judge(RuntimeError(told))

    assert isinstance(error, ShortOfMemoryError)
    assert str(error) == (
        "out of memory on the device, 5 MiB of it free, while the trial held 1740 MiB"
    )


@pytest.mark.parametrize(
    "error",
    [host_error(100 * MIB), host_error(LIMIT + 7), MemoryError(), OSError(errno.ENOMEM, "mmap")],
    ids=["allocator", "allocator, large", "Python", "file"],
)
@pytest.mark.parametrize("limit", [LIMIT, None])
def test_a_host_without_memory_says_nothing_of_a_trial_on_a_device(error, limit):
    found = Cap(limit, Device(held_mib=1700)).judge(error)

    assert isinstance(found, ShortOfMemoryError)
    assert str(found) == "out of memory on this machine, and not for the trial's sake alone"


def test_without_a_card_the_limit_is_what_the_device_had_when_the_trial_began():
    device = Device(held_mib=100, free_mib=4900)
    cap = Cap(None, device)
    cap.begin()
    device.held, device.free = 4800 * MIB, 200 * MIB

    error = cap.judge(cuda_error("1.00 GiB"))

    assert cap.limit_bytes == 5000 * MIB
    assert isinstance(error, TooLargeError)
    assert error.excess_bytes == (4800 + 1024 - 5000) * MIB
    assert "that the device had free" in str(error)
    assert isinstance(cap.judge(cuda_error("20.00 MiB")), ShortOfMemoryError)  # others came since


@pytest.mark.parametrize(
    ("error", "limit", "expected"),
    [
        (host_error(LIMIT + 7), LIMIT, TooLargeError),
        (host_error(1000), LIMIT, ShortOfMemoryError),
        (host_error(10**15), None, ShortOfMemoryError),
        (MemoryError(), LIMIT, ShortOfMemoryError),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), LIMIT, ShortOfMemoryError),
        (RuntimeError("unable to mmap: Cannot allocate memory (12)"), LIMIT, ShortOfMemoryError),
        (SafetensorError("Cannot allocate memory (os error 12)"), LIMIT, ShortOfMemoryError),
    ],
)
def test_a_hosts_memory_is_the_trials_fault_only_where_it_asked_for_more_than_the_card_leaves(
    error, limit, expected
):
    found = Cap(limit, None).judge(error)

    assert type(found) is expected
    if isinstance(found, TooLargeError):
        assert found.excess_bytes == 7


def test_a_real_refusal_of_the_hosts_allocator_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)

    found = Cap(LIMIT, None).judge(caught.value)

    assert isinstance(found, TooLargeError)
    assert found.excess_bytes == 4 * 10**15 - LIMIT


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no memory of it"),
        RuntimeError("shapes differ"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm(...)`"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_other_errors_say_nothing_of_memory(error):
    assert Cap(LIMIT, Device()).judge(error) is None


def test_a_verdict_keeps_no_frame_of_the_trial():
    try:
        try:
            raise cuda_error()
        except torch.OutOfMemoryError as error:
            raise TooLargeError(LIMIT + 5, LIMIT, "the card leaves") from error
    except TooLargeError as raised:
        found = Cap(LIMIT, None).judge(raised)

    assert found is not None
    assert (found.__traceback__, found.__context__) == (None, None)

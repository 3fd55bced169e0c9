"""What a process settles once, before its first trial: its threads, and the same bits on a GPU.

Everything that runs trials calls it: Ray's worker, and processes without Ray. Memory is not settled
here: that is the cap's, before every trial.
"""

import ctypes
import gc
import os

import torch
import torch.utils.deterministic
from threadpoolctl import threadpool_limits

MAPPED_BYTES = 32 << 20  # larger blocks are mapped by themselves: the most that glibc 2.31 takes
KEPT_BYTES = 1 << 30  # freed memory at the end of the heap that stays with the process

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def settle(device: torch.device, cpus: int) -> threadpool_limits:
    """Settle this process; what is returned must be kept, or the limit of threads ends.

    Args:
        device: where trials will run; nothing may have run on it yet.
        cpus: that a trial holds.
    """
    limits = share_threads(cpus)
    if device.type == "cuda":  # same seed, same trial: some kernels sum in any order
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # It would also fill every new tensor first: a launch more for each, which nothing reads.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        # Fused attention is among them; the plain one is also what the footprint traces.
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
    keep_freed_memory()
    gc.freeze()  # what is here stays: a third of a second less to look through before a trial
    return limits


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, up to `KEPT_BYTES`, instead of returning it.

    Every step allocates and frees buffers of megabytes. Given back, their pages are mapped and
    cleared anew each time: a fifth of a small Transformer's step. Elsewhere than in glibc nothing
    happens, and memory that PyTorch's GPU allocator holds is not concerned.
    """
    try:
        settings = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    settings(_M_MMAP_THRESHOLD, MAPPED_BYTES)
    settings(_M_TRIM_THRESHOLD, KEPT_BYTES)


def share_threads(cpus: int) -> threadpool_limits:
    """Hold this process to so many threads; what is returned must be kept."""
    os.environ["RAYON_NUM_THREADS"] = str(cpus)  # of the tokenizers
    torch.set_num_threads(cpus)  # one thread a CPU: more made trials 10 to 100 times slower
    return threadpool_limits(cpus)

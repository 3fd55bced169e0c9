"""What a process settles once, before its first trial: its threads, and the same bits on a GPU.

Everything that runs trials calls it: Ray's worker, and processes without Ray. Memory is not settled
here: that is the cap's, before every trial.
"""

import gc
import os

import torch
import torch.utils.deterministic
from threadpoolctl import threadpool_limits


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
    gc.freeze()  # what is here stays: a third of a second less to look through before a trial
    return limits


def share_threads(cpus: int) -> threadpool_limits:
    """Hold this process to so many threads; what is returned must be kept."""
    os.environ["RAYON_NUM_THREADS"] = str(cpus)  # of the tokenizers
    torch.set_num_threads(cpus)  # one thread a CPU: more made trials 10 to 100 times slower
    return threadpool_limits(cpus)

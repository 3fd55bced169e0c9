"""A limited GPU, played on a CPU.

A dispatch mode adds up the storages alive on the CPU while it is entered, and refuses what exceeds
its limit, in CUDA's own words. Its numbers are exact: it rounds nothing and keeps no cache.
"""

import weakref

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from headhunt.trainables.card.cards import MIB

MAPPED = (torch.int32, torch.float16)  # the stored notes, which stay with the host


class PlayedDevice(TorchDispatchMode):
    """A GPU: what is alive on the CPU while it is entered stands in its memory."""

    def __init__(self, total_bytes=64 * MIB):
        super().__init__()
        self.alive: dict[int, int] = {}  # id of a storage -> bytes
        self.most = self.others = 0
        self.limit = self.total = total_bytes
        self.at_release: list[int] = []  # bytes still held when a trial begins

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in (t for t in tree_iter(out) if isinstance(t, Tensor)):
            if tensor.device.type == "cpu" and tensor.dtype not in MAPPED:
                self._keep(tensor.untyped_storage())
        return out

    def _keep(self, storage):
        size = storage.nbytes()
        if id(storage) in self.alive or size == 0:
            return
        if self.held_bytes() + size > min(self.limit, self.total - self.others):
            asked = f"{size / MIB:.2f} MiB"
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. Tried to allocate {asked}. GPU 0 has"
            )
        self.alive[id(storage)] = size
        weakref.finalize(storage, self.alive.pop, id(storage), None)
        self.most = max(self.most, self.held_bytes())

    def total_bytes(self):
        return self.total

    def free_bytes(self):
        return self.total - self.others - self.held_bytes()

    def held_bytes(self):
        return sum(self.alive.values())

    def peak_bytes(self):
        return self.most, self.most

    def forget_peak(self):
        self.most = self.held_bytes()

    def release(self):
        self.at_release.append(self.held_bytes())

    def set_limit(self, limit_bytes):
        self.limit = limit_bytes

"""Several processes that train one network, each on its own device."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Replicas:
    """The processes of a training; alone, everything here does nothing.

    Every process holds the same weights, draws its own batch, and takes the step of the mean gradient. Written out in
    place of ``DistributedDataParallel``: the network runs on a batch object, and a batch without triplets leaves all
    gradients empty, which that class does not take.

    Attributes:
        rank: number of this process; 0 writes the files.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """True in the process that writes files and prints."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes."""
        if self.count == 1:
            return
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
        distributed.all_reduce(flat)
        flat /= self.count
        start = 0
        for parameter in parameters:
            parameter.grad = flat[start : start + parameter.numel()].view_as(parameter).clone()
            start += parameter.numel()

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.count > 1:
            distributed.barrier()

    def sum(self, values: Sequence[float], device: torch.device | str) -> list[float]:
        """Sums of numbers over the processes."""
        if self.count == 1:
            return list(values)
        total: Tensor = torch.tensor(values, dtype=torch.float32, device=device)
        distributed.all_reduce(total)
        return [float(each) for each in total]


def local_rank() -> int:
    """Number of this process on its node, 0 without ``torchrun``."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_count() -> int:
    """Processes that train together on this node, 1 without ``torchrun``."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def join(device: str) -> Iterator[tuple[Replicas, str]]:
    """Meet the other processes that ``torchrun`` started; alone without it.

    Args:
        device: ``cuda`` becomes the GPU of this process's number on its node.

    Yields:
        The processes, and the device of this one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Replicas(), device
        return
    if device == "cuda":
        device = f"cuda:{local_rank() % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Replicas(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()

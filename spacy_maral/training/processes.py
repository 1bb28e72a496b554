"""Communication between the processes that `torchrun` starts to train one model together.

All processes run the same program. They exchange sums, rows of arrays, and values of the first
process, by torch.distributed. A single process needs none of this.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import Errors, MaralError

Item = TypeVar("Item")
LOST = ("gloo", "Connection", "NCCL", "socket")


class Ranks(NamedTuple):
    """The rank of this process, from 0, and the number of processes (size)."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def deal(self, items: Sequence[Item]) -> Sequence[Item]:
        """Take this process's share of a sequence: every size-th item, from item `rank` on."""
        return items if self.size == 1 else items[self.rank :: self.size]

    def say(self, value: Any) -> Any:
        """Broadcast the first process's value (plain JSON); other processes' values are ignored."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.is_first else b""
        n_bytes = torch.tensor([len(text)])
        dist.broadcast(n_bytes, 0)
        if self.is_first:
            block = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        else:
            block = torch.empty(int(n_bytes), dtype=torch.uint8)
        dist.broadcast(block, 0)
        return json.loads(block.numpy().tobytes())

    def sum(self, array: Any) -> NDArray:
        """Sum the arrays of all processes, which must have the same shape."""
        if self.size == 1:
            return np.asarray(array)
        total = torch.from_numpy(np.array(array))
        dist.all_reduce(total)
        return total.numpy()

    def largest(self, number: int) -> int:
        """Find the largest of the numbers of all processes."""
        if self.size == 1:
            return number
        found = torch.tensor([int(number)])
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def gather(self, array: NDArray) -> list[NDArray]:
        """Gather the arrays of all processes, by rank; their numbers of rows may differ."""
        if self.size == 1:
            return [array]
        # as bytes: torch.distributed does not support every number format
        row = array.dtype.itemsize * int(np.prod(array.shape[1:]))
        block = np.ascontiguousarray(array).view(np.uint8).reshape(len(array), row)
        parts = self._gather(torch.from_numpy(block))
        return [
            part.numpy().reshape(-1).view(array.dtype).reshape(-1, *array.shape[1:])
            for part in parts
        ]

    def gather_rows(self, tensor: Tensor) -> Tensor:
        """Gather the rows of all processes, by rank; gradients flow to this process's rows only.

        Every process computes the same loss from the same rows, so that the gradients of all
        processes add up to the gradient for all rows.
        """
        if self.size == 1:
            return tensor
        parts = self._gather(tensor.detach())
        parts[self.rank] = tensor
        return torch.cat(parts)

    def mean(self, total: Tensor, n: int, *, counts: bool) -> tuple[Tensor, float]:
        """Compute a mean over the terms of all processes.

        total (Tensor): Sum of this process's terms, with a graph.
        n (int): Number of this process's terms.
        counts (bool): Whether this process's terms count.
        RETURNS (tuple): This process's part of the mean, with a graph, and the mean.
        """
        every = self.sum(np.array([total.item() * counts, n * counts], dtype=np.float64))
        n_all = max(every[1], 1.0)
        return total * counts / n_all, float(every[0] / n_all)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each process's gradients by their sum over all processes."""
        if self.size == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        used = torch.tensor([int(parameter.grad is not None) for parameter in trained])
        dist.all_reduce(used, dist.ReduceOp.MAX)
        for parameter, is_used in zip(trained, used.tolist(), strict=True):
            if is_used:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(tensor)]))
        most = int(max(sizes))
        padded = tensor.new_zeros(most, *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return [part[: int(n)] for part, n in zip(parts, sizes, strict=True)]


ALONE = Ranks()


def own_gpu(gpu_id: int) -> int:
    """Choose the GPU of this process; each process of `torchrun` on a machine takes its own.

    gpu_id (int): GPU of the machine's first process, -1 for the CPU.
    RETURNS (int): GPU of this process, -1 for the CPU.
    """
    return gpu_id if gpu_id < 0 else gpu_id + int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def join(*, on_gpu: bool) -> Iterator[Ranks]:
    """Join the other processes if `torchrun` has started several.

    CPU tensors travel by gloo, GPU tensors by NCCL. Only the first process logs warnings.

    on_gpu (bool): Whether the processes compute on GPUs.
    YIELDS (Ranks): The rank of this process, and the number of processes.
    RAISES (MaralError): If another process ends before this one.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1 or "MASTER_ADDR" not in os.environ:
        yield ALONE
        return
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size())
    if not ranks.is_first:
        logging.getLogger("spacy").setLevel(logging.ERROR)
    try:
        yield ranks
        # the other processes wait until the first has written its files
        ranks.say(None)
    except RuntimeError as error:
        if not any(word in str(error) for word in LOST):
            raise
        raise MaralError(Errors.M326.format(rank=ranks.rank, problem=error)) from error
    finally:
        dist.destroy_process_group()

"""Devices, and several processes that train one model: each takes its share of every batch, gradients are averaged.

    torchrun --nproc-per-node 4 -m minigroupvit train

The losses gather the features of all processes (`gather`), so the result is that of one process with
the whole batch. In one process nothing here does anything. docs/scale.md has the commands for more machines.

B rows of this process  A rows of all processes
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are; (0, 1) where torch.distributed is not in use."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    """Rows of all processes in the forward pass; in the backward pass the sum of all processes' gradients for its own.

    As `torch.distributed.nn.functional.all_gather`, which newer versions of torch deprecate, with the sum made on the
    way to the rows' own process in every backend: each process receives B rows of it, not A.
    """

    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:
        rows = features.new_empty(dist.get_world_size() * len(features), *features.shape[1:])
        dist.all_gather_into_tensor(rows, features.contiguous())
        return rows

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own


def gather(features: Tensor) -> Tensor:
    """The rows of all processes, first process first, with gradients: (B, ...) -> (A, ...)."""
    return features if rank_and_size()[1] == 1 else _Gather.apply(features)


def gather_lists(rows: list) -> list:
    """The rows of all processes, first process first, of a list of texts or other objects."""
    if rank_and_size()[1] == 1:
        return rows
    parts: list[list] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, rows)
    return [row for part in parts for row in part]


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; None: a GPU if there is one, else the CPU. Raises ValueError if it cannot be used."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"cannot use the device {device}: {str(error).splitlines()[0]}; leave it out for a GPU if "
                         "there is one, else the CPU") from None
    return torch.device(device)


def join_processes(device: torch.device) -> torch.device:
    """Joins the others if torchrun started this process; returns the device that this process uses.

    Raises ValueError where a machine has more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        number, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if number >= count:
            raise ValueError(f"this machine has {count} GPUs and at least {number + 1} processes; start as many "
                             f"processes as there are GPUs: torchrun --nproc-per-node {count}")
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def leave_processes() -> None:
    """Parts from the other processes at the end of a program."""
    if rank_and_size()[1] > 1:
        dist.destroy_process_group()


def synchronize_batch_norm(model: nn.Module) -> nn.Module:
    """Lets every BatchNorm see the batch of all processes; the names of the weights stay.

    Raises ValueError on a CPU, where torch has no synchronised BatchNorm: each process would
    normalise by its own share, and the result would not be that of one process.
    """
    if rank_and_size()[1] == 1:
        return model
    names = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not names:
        return model
    if next(model.parameters()).device.type == "cpu":
        raise ValueError(
            f"this model has BatchNorm ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''}), which torch cannot "
            "synchronise between processes on a CPU; train in one process, on GPUs, or with stem='linear' and "
            "head='linear'")
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def data_parallel(module: nn.Module, static_graph: bool) -> nn.Module:
    """The module with the first process's weights, whose backward pass averages the gradients over the processes.

    Args:
        static_graph: whether every step uses the same parameters in the same way. Else
            `DistributedDataParallel` looks anew in every step which parameters the losses do not use.
    """
    if rank_and_size()[1] == 1:
        return module
    return nn.parallel.DistributedDataParallel(
        module, static_graph=static_graph, find_unused_parameters=not static_graph, gradient_as_bucket_view=True)


def mean_over_processes(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of each number over the processes, without gradient."""
    if rank_and_size()[1] == 1:
        return values
    means = torch.stack([value.detach() for value in values.values()])
    dist.all_reduce(means)
    return dict(zip(values, means / dist.get_world_size()))


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process: all stop after the same step, or none."""
    if rank_and_size()[1] == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return bool(flags.item())

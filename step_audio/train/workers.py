"""The processes of one training: alone, or started by torchrun, one a GPU (or one a CPU share).

Parameters, gradients and optimizer are sharded over all of them (PyTorch FSDP2): each holds one
N-th, layers are gathered when they compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from step_audio.train.loop import pick_device


@dataclass(frozen=True, slots=True)
class TrainingProcesses:
    """This process among all."""

    device: torch.device
    rank: int = 0
    count: int = 1
    mesh: DeviceMesh | None = None

    @property
    def leads(self) -> bool:
        """True in the one process that writes files and prints."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Return each value summed over all processes."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def gather(self, value: Any) -> list[Any]:
        """Return the (picklable) value of every process, in order."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found

    def wait(self) -> None:
        """Wait for all others."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def start(device: str = "auto") -> Iterator[TrainingProcesses]:
    """Join the other processes when torchrun started us; leave them at the end."""
    if not dist.is_torchelastic_launched():
        yield TrainingProcesses(pick_device(device))
        return
    kind = pick_device(device).type
    here = torch.device("cpu")
    if kind == "cuda":
        here = torch.device("cuda", int(dist.get_node_local_rank()))
        torch.cuda.set_device(here)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        mesh = init_device_mesh(kind, (dist.get_world_size(),))
        yield TrainingProcesses(here, dist.get_rank(), dist.get_world_size(), mesh)
    finally:
        dist.destroy_process_group()


def shard(
    model: nn.Module, layers: Sequence[nn.Module], workers: TrainingProcesses, *, bf16: bool
) -> None:
    """Shard a model (also one on the meta device) layer by layer; alone, change nothing."""
    if workers.mesh is None:
        return
    policy = MixedPrecisionPolicy()
    if bf16:
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for layer in layers:
        fully_shard(layer, mesh=workers.mesh, mp_policy=policy)
    fully_shard(model, mesh=workers.mesh, mp_policy=policy)


def whole(tensor: Tensor) -> Tensor:
    """Return a parameter in full on the CPU; every process must ask for it."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu()


def own_rows(tensor: Tensor) -> tuple[Tensor, int]:
    """Return the part of a parameter that this process holds, and its first row in the whole."""
    if not isinstance(tensor, DTensor):
        return tensor.detach(), 0
    local = tensor.to_local().detach()
    rank, count = tensor.device_mesh.get_local_rank(), tensor.device_mesh.size()
    # FSDP cuts the first axis as torch.chunk does.
    chunk = -(-tensor.shape[0] // count)
    return local, min(rank * chunk, tensor.shape[0])

"""Several processes, one a device, train one network: torchrun starts them and says who is who.

Each process takes its share of every batch. The loss is taken over the whole batch, from the logits of all
processes, because Jaccard and Dice of a batch are not means over its parts. So the number of processes changes
roundings only, with one exception: on CPUs batch normalisation sees a process' own share of the batch.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed, nn

from wsiseg.errors import SettingsError
from wsiseg.models.devices import choose_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

_PATIENCE = timedelta(hours=2)
"""The others wait while the leading process validates."""


@dataclass(frozen=True, slots=True)
class World:
    """Where this process stands among those that train together."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes and tells."""
        return self.rank == 0

    def places(self, batch: int) -> range:
        """Give this process' share of the places in a batch.

        Raises
        ------
        SettingsError
            E-CONFIG: the processes cannot have equal shares.
        """
        if batch % self.size:
            what = f"schedule.batch is {batch}, which {self.size} processes cannot share equally"
            raise SettingsError("E-CONFIG", what, fix="start another number of processes, or change the batch")
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def spread(self, network: nn.Module) -> nn.Module:
        """Give the module whose passes take part in all processes; its parameters are the network's own."""
        if self.size == 1:
            return network
        if self.device.type != "cuda":
            return nn.parallel.DistributedDataParallel(network, static_graph=True)
        together = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return nn.parallel.DistributedDataParallel(together, device_ids=[self.device], static_graph=True)

    def gathered(self, part: Tensor) -> Tensor:
        """Join a tensor's parts of all processes along the batch; a gradient reaches this process' part only.

        The gradients of the parameters are averaged over the processes later, where their sum is wanted: multiply
        the loss by `size`.
        """
        if self.size == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.size)]
        distributed.all_gather(parts, part.detach().contiguous())
        parts[self.rank] = part
        return torch.cat(parts)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Take part in what torchrun started; alone if nothing did.

    Raises
    ------
    SettingsError
        E-DEVICE: no such device here.
    """
    chosen = choose_device(device)
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1:
        yield World(chosen)
        return
    if chosen.type == "cuda":
        chosen = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(chosen, rank, size)
    finally:
        distributed.destroy_process_group()

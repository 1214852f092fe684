"""Where training runs: one process, or several that torchrun started."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from asr.errors import ConfigError


@dataclass(frozen=True)
class Placement:
    """The device of this process and its place among all processes."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def any(self, here: bool) -> bool:
        """Whether it is so in any of the processes: what all of them must decide alike."""
        if self.world_size == 1:
            return here
        flag = torch.tensor(float(here), device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)


def send(values: Tensor, device: torch.device) -> Tensor:
    """A copy on `device`, without waiting until the device has done what it was asked before."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class Arriving:
    """Numbers on their way from a device, read without waiting for what it does after them."""

    def __init__(self, values: Tensor) -> None:
        self._values = values.to("cpu", non_blocking=True)
        self._event: torch.cuda.Event | None = None
        if values.is_cuda:
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types
            self._event.record()

    def read(self) -> list[float]:
        """The numbers, as soon as they are there."""
        if self._event is not None:
            self._event.synchronize()
        numbers: list[float] = self._values.tolist()
        return numbers


def place(name: str) -> Placement:
    """The device called `name` ("auto" prefers CUDA); joins the group under torchrun.

    Raises ConfigError for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch sees no CUDA device")
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Placement(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Placement(device, distributed.get_rank(), world_size)

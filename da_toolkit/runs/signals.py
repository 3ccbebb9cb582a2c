"""Stops a run between two steps when the user or the scheduler asks for it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """While entered, SIGTERM, SIGINT and SIGUSR1 ask for a stop; a second signal has its usual effect at once."""

    def __init__(self) -> None:
        self.name = ""
        """Of the signal that came, if one did."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def asked(self, fabric: "Fabric") -> bool:
        """Whether any rank was asked to stop; all ranks get the same answer at the same step."""
        if fabric.world_size == 1:
            return bool(self.name)
        flag = torch.tensor(float(bool(self.name)), device=fabric.device)
        torch.distributed.all_reduce(flag)
        return bool(flag.item())

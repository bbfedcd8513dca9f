"""Reading memory while the real model runs. A meter stands where the replay's tracker stands: the same steps run
under either (``watching`` a model, in a ``phase``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gpufit.measure.readings import Reading, Stage

if TYPE_CHECKING:
    from gpufit.replay.tracker import Tracker

Report = Callable[[Stage], None]
Begin = Callable[[str], None]


class Gauge(Protocol):
    """What can be read of a device."""

    def restart(self) -> None:
        """Forget earlier peaks."""

    def peak(self) -> Reading:
        """The most since ``restart``."""
        ...

    def now(self) -> Reading:
        """What is held at this moment."""
        ...

    def settle(self) -> None:
        """Wait until the device has done what it was asked."""

    def count(self, model: Any) -> None:
        """Count the model's tensors that were not seen before."""

    def watching(self, model: Any) -> Any:
        """A context in which the model's operations are seen."""
        ...


class Meter:
    """Turns a gauge's readings into stages; ``begin`` hears of a stage when it starts, ``report`` when it has ended."""

    def __init__(self, gauge: Gauge, begin: Begin, report: Report) -> None:
        self.gauge = gauge
        self._begin, self._report = begin, report

    @contextmanager
    def phase(self, name: str, *, counted: bool = True, tokens: int = 0) -> Iterator[None]:
        """Measure what happens inside. A phase that breaks off is not reported; one not ``counted`` sets the stage."""
        self._begin(name)
        self.gauge.settle()
        self.gauge.restart()
        start = time.perf_counter()
        yield
        self.gauge.settle()
        seconds = time.perf_counter() - start
        if counted:
            self._report(
                Stage(name=name, peak=self.gauge.peak(), after=self.gauge.now(), seconds=seconds, tokens=tokens)
            )

    def count(self, model: Any) -> None:
        """Count tensors that the model has and that were made outside a phase, where the gauge needs to be told."""
        self.gauge.count(model)

    def watching(self, model: Any) -> Any:
        """See the model's operations, where the gauge needs to."""
        return self.gauge.watching(model)

    def see_all(self, container: Any, op: str) -> None:
        """Part of the tracker's face; inputs are made inside the phases here."""


class CpuGauge:
    """Storages that live, seen by a tracker; the resident set from the system.

    Kernels' scratch that no operator returns is not seen, as torch's own profiler does not see it either.
    """

    def __init__(self) -> None:
        from gpufit.replay.tracker import Tracker

        self.tracker: Tracker = Tracker("cpu")
        self._seen = 0
        self._live = self._peak = 0

    def count(self, model: Any) -> None:
        """Loader threads, and what prepares a model between phases, are not seen by a tracker: count what they left."""
        from gpufit.replay.run import resident_tensors

        self._follow()
        before = len(self.tracker.residents)
        self.tracker.register(resident_tensors(model))
        self._live += sum(event.bytes for event in self.tracker.residents[before:])
        self._peak = max(self._peak, self._live)

    def restart(self) -> None:
        self._follow()
        self._peak = self._live
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM (proc(5)); elsewhere the peak stays whole
        except OSError:
            return

    def peak(self) -> Reading:
        self._follow()
        return Reading(allocated_bytes=self._peak, process_bytes=_status_bytes("VmHWM"))

    def now(self) -> Reading:
        self._follow()
        return Reading(allocated_bytes=self._live, process_bytes=_status_bytes("VmRSS"))

    def settle(self) -> None:
        """Nothing runs behind the CPU's back."""

    def watching(self, model: Any) -> Any:
        return self.tracker.watching(model)

    def _follow(self) -> None:
        for event in self.tracker.events[self._seen :]:
            self._live += event.bytes
            self._peak = max(self._peak, self._live)
        self._seen = len(self.tracker.events)


class CudaGauge:
    """torch's own counters; the process from the driver.

    ``cuda`` is ``torch.cuda``; ``process_bytes`` asks the driver, and answers None where it cannot tell.
    """

    def __init__(self, cuda: Any, device: Any, process_bytes: Callable[[], int | None]) -> None:
        self.cuda, self.device, self._process_bytes = cuda, device, process_bytes

    def restart(self) -> None:
        self.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> Reading:
        process = self._process_bytes()
        reserved = self.cuda.max_memory_reserved(self.device)
        if process is not None:  # the driver is asked afterwards: what the allocator gave back meanwhile was held too
            process += max(0, reserved - self.cuda.memory_reserved(self.device))
        return Reading(
            allocated_bytes=self.cuda.max_memory_allocated(self.device), reserved_bytes=reserved, process_bytes=process
        )

    def now(self) -> Reading:
        return Reading(
            allocated_bytes=self.cuda.memory_allocated(self.device),
            reserved_bytes=self.cuda.memory_reserved(self.device),
            process_bytes=self._process_bytes(),
        )

    def settle(self) -> None:
        self.cuda.synchronize(self.device)

    def count(self, model: Any) -> None:
        """The allocator has counted it."""

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        yield


def _status_bytes(key: str) -> int | None:
    """A size from /proc/self/status; None on systems that have no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return next((int(kib) * 1024 for kib in found), None)

"""torch.cuda as far as measuring asks it: a card whose allocator keeps what was freed. A test holds it to the real
functions' signatures."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

UUID = "5f0a3c1e-8d5b-6f62-4d1c-0f5f0b6d7a11"


class FakeCuda:
    """``calls`` are the functions that were asked, in order."""

    def __init__(self, *, available: bool = True, total: int = 16 << 30) -> None:
        self.allocated = self.reserved = self.peak_allocated = self.peak_reserved = 0
        self.fraction: float | None = None
        self.calls: list[str] = []
        self._available, self._total = available, total

    def take_(self, size: int) -> None:
        self.allocated += size
        self.reserved = max(self.reserved, self.allocated)
        self.peak_allocated = max(self.peak_allocated, self.allocated)
        self.peak_reserved = max(self.peak_reserved, self.reserved)

    def give_(self, size: int, *, to_driver: bool = False) -> None:
        self.allocated -= size
        self.reserved = self.allocated if to_driver else self.reserved

    def is_available(self) -> bool:
        self.calls.append("is_available")
        return self._available

    def init(self) -> None:
        self.calls.append("init")

    def set_device(self, device: Any) -> None:
        self.calls.append("set_device")

    def get_device_properties(self, device: Any = None) -> Any:
        self.calls.append("get_device_properties")
        return SimpleNamespace(name="Tesla T4", uuid=UUID, total_memory=self._total)

    def set_per_process_memory_fraction(self, fraction: float, device: Any = None) -> None:
        self.fraction = fraction

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        self.peak_allocated, self.peak_reserved = self.allocated, self.reserved

    def memory_allocated(self, device: Any = None) -> int:
        return self.allocated

    def memory_reserved(self, device: Any = None) -> int:
        return self.reserved

    def max_memory_allocated(self, device: Any = None) -> int:
        return self.peak_allocated

    def max_memory_reserved(self, device: Any = None) -> int:
        return self.peak_reserved

    def synchronize(self, device: Any = None) -> None:
        self.calls.append("synchronize")

"""A double behind nvidia-ml-py's own calls: the real module's names, error classes and codes, and recorded answers."""

# ruff: noqa: N802, N815  (the names are NVML's own)
from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

MIB = 1 << 20


@dataclass
class Card:
    name: str = "Tesla T4"
    uuid: str = "GPU-5f0a3c1e-8d5b-6f62-4d1c-0f5f0b6d7a11"
    total: int = 15360 * MIB
    reserved: int = 445 * MIB
    used: int = 915 * MIB
    free: int = 14000 * MIB
    compute: list[Any] = field(default_factory=list)
    graphics: list[Any] = field(default_factory=list)
    mig: list[Card] | None = None
    capability: tuple[int, int] = (7, 5)


def process(pid: int, used: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


class FakeNvml:
    """``errors`` maps a function's name to the NVML code it fails with; handles are the cards themselves."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE
    nvmlMemory_v2 = pynvml.nvmlMemory_v2

    def __init__(self, *cards: Card, errors: dict[str, int] | None = None, names: dict[int, str] | None = None) -> None:
        self.cards = cards
        self.errors = errors or {}
        self.names = names or {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("NVML_ERROR_"):
            return getattr(pynvml, name)
        if not name.startswith("nvml") or not hasattr(pynvml, name):
            raise AttributeError(name)
        answer = getattr(type(self), "_" + name, None)

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if name in self.errors:
                raise pynvml.NVMLError(self.errors[name])
            if answer is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return answer(self, *arguments, **named)

        return call

    def _nvmlInit(self) -> None: ...

    def _nvmlShutdown(self) -> None: ...

    def _nvmlSystemGetDriverVersion(self) -> str:
        return "560.35.05"

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        return self.cards[index]

    def _nvmlDeviceGetName(self, card: Card) -> str:
        return card.name

    def _nvmlDeviceGetUUID(self, card: Card) -> str:
        return card.uuid

    def _nvmlDeviceGetMemoryInfo(self, card: Card, version: int | None = None) -> SimpleNamespace:
        if version is None:
            return SimpleNamespace(total=card.total, used=card.used + card.reserved, free=card.free)
        if "v2" in self.errors:
            raise pynvml.NVMLError(self.errors["v2"])
        return SimpleNamespace(total=card.total, reserved=card.reserved, used=card.used, free=card.free)

    def _nvmlDeviceGetUtilizationRates(self, card: Card) -> SimpleNamespace:
        return SimpleNamespace(gpu=12, memory=3)

    def _nvmlDeviceGetTemperature(self, card: Card, sensor: int) -> int:
        return 41

    def _nvmlDeviceGetPowerUsage(self, card: Card) -> int:
        return 27_340

    def _nvmlDeviceGetEnforcedPowerLimit(self, card: Card) -> int:
        return 70_000

    def _nvmlDeviceGetCudaComputeCapability(self, card: Card) -> tuple[int, int]:
        return card.capability

    def _nvmlDeviceGetComputeRunningProcesses(self, card: Card) -> list[Any]:
        return card.compute

    def _nvmlDeviceGetGraphicsRunningProcesses(self, card: Card) -> list[Any]:
        return card.graphics

    def _nvmlSystemGetProcessName(self, pid: int) -> str:
        if pid not in self.names:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return self.names[pid]

    def _nvmlDeviceGetMigMode(self, card: Card) -> list[int]:
        if card.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]

    def _nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:
        return 7

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, place: int) -> Card:
        slices = card.mig or []
        if place >= len(slices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return slices[place]

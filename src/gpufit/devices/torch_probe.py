"""PyTorch as a probe of last resort, in a child process: a broken CUDA may hang or abort whoever asks it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from gpufit.devices.bounded import LIMIT_SECONDS, Runner, run_command
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.visible import VARIABLES
from gpufit.records import record

_CHILD = """
import json, torch
found = []
for index in range(torch.cuda.device_count()):
    card = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    found.append({"name": card.name, "free": free, "total": total, "cc": [card.major, card.minor],
                  "vendor": "AMD" if torch.version.hip else "NVIDIA", "uuid": str(getattr(card, "uuid", "")),
                  "gfx": getattr(card, "gcnArchName", "")})
if not found and torch.backends.mps.is_available():
    total = torch.mps.recommended_max_memory()
    found.append({"name": "Apple GPU", "free": None, "total": total, "vendor": "Apple"})
for index in range(torch.xpu.device_count() if not found else 0):
    card = torch.xpu.get_device_properties(index)
    free, total = torch.xpu.mem_get_info(index)
    found.append({"name": card.name, "free": free, "total": total, "vendor": "Intel",
                  "integrated": bool(getattr(card, "is_integrated_gpu", False))})
print(json.dumps(found))
"""


def installed_torch() -> Path | None:
    """The folder of the installed torch, found without importing it; None when there is none."""
    from importlib.util import find_spec

    spec = find_spec("torch")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@record
class TorchProbe:
    """``run`` and ``find`` default to a real child process and the installed torch."""

    run: Runner | None = None
    find: Callable[[], Path | None] = installed_torch
    platform: str = sys.platform  # on macOS every build has Metal, and none says so
    limit_seconds: float = LIMIT_SECONDS

    @property
    def name(self) -> str:
        return "torch"

    def devices(self) -> tuple[Device, ...]:
        """All devices that torch can use, in the order of the PCI bus."""
        folder = self.find()
        if folder is None:
            raise ProbeFailed("torch is not installed", is_absent=True)
        if self.platform != "darwin" and _is_cpu_build(folder):
            raise ProbeFailed("the installed torch is a CPU build", is_absent=True)
        run = self.run or partial(run_command, environ=_child_environ(os.environ))
        answer = run((sys.executable, "-c", _CHILD), limit_seconds=self.limit_seconds)
        if answer.code != 0:
            last = answer.stderr.strip().splitlines()[-1:] or ["it said nothing"]
            raise ProbeFailed(f"torch failed ({answer.code}): {last[0][:160]}")
        return parse_torch(answer.stdout)


def parse_torch(text: str) -> tuple[Device, ...]:
    """Parse the child's answer. Raises ProbeFailed for anything else."""
    try:
        return tuple(_device(index, card) for index, card in enumerate(json.loads(text)))
    except (ValueError, KeyError, TypeError):
        raise ProbeFailed(f"torch answered with something gpufit cannot read: {text[:80]!r}") from None


def _device(index: int, card: dict[str, Any]) -> Device:
    total = int(card["total"])
    free = None if card["free"] is None else int(card["free"])
    vendor = str(card["vendor"])
    capability = (int(card["cc"][0]), int(card["cc"][1])) if vendor == "NVIDIA" else None
    gfx = str(card.get("gfx", "")).partition(":")[0]  # "gfx90a:sramecc+:xnack-"
    return Device(
        name=str(card["name"]),
        source="torch",
        index=index,
        uuid=f"GPU-{card['uuid']}" if card.get("uuid") else None,
        total_bytes=total,
        free_bytes=free,
        used_bytes=None if free is None else total - free,
        integrated=bool(card.get("integrated", False)),
        vendor=vendor,
        compute_capability=capability,
        architecture=gfx or None if vendor == "AMD" else None,
        notes=("measured by torch, whose own context is part of what is used",),
    )


def _is_cpu_build(folder: Path) -> bool:
    """torch/version.py states what it was built for; importing torch to learn that would take seconds."""
    try:
        text = (folder / "version.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    lines = [line.replace(" ", "") for line in text.splitlines()]
    built_for = [line for line in lines if line.startswith(("cuda:", "hip:", "xpu:", "cuda=", "hip="))]
    return bool(built_for) and all(line.endswith("=None") for line in built_for)


def _child_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The child numbers all cards by the PCI bus, as the other probes do; visibility is applied afterwards, once."""
    return {key: value for key, value in environ.items() if key not in VARIABLES} | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

"""The catalog against one device: for each model the best precision that fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, get_args

from gpufit.devices.device import Device
from gpufit.errors import UnknownName
from gpufit.facts.architecture import Architecture, Task
from gpufit.memory.workload import QUANTIZATIONS
from gpufit.records import record
from gpufit.units import parse_count
from gpufit.verdict.advise import Option
from gpufit.verdict.budget import make_budget
from gpufit.verdict.menu import Menus
from gpufit.verdict.plan import Request

TASKS: tuple[str, ...] = get_args(Task)
SMALLEST_BYTES_A_PARAMETER = 0.5  # no format here stores less than four bits a parameter
SORT_KEYS = ("catalog", "name", "parameters", "process", "headroom", "context")


class Entry(Protocol):
    """What a listing needs of a catalog entry."""

    @property
    def name(self) -> str: ...
    @property
    def hub_id(self) -> str | None: ...
    @property
    def task(self) -> str: ...
    @property
    def family(self) -> str: ...
    @property
    def parameters(self) -> int: ...
    def architecture(self) -> Architecture: ...


@record
class ListFilter:
    """Which entries to show. ``quant`` asks for that format alone instead of the best."""

    family: str | None = None
    task: str | None = None
    max_params: int | None = None
    quant: str | None = None

    @classmethod
    def parse(cls, *, family: str | None, task: str | None, max_params: str | None, quant: str | None) -> ListFilter:
        """A filter from text; raises UsageError for an unknown task, quantization or count.

        >>> ListFilter.parse(family=None, task=None, max_params="7B", quant=None).max_params
        7000000000
        """
        if task is not None and task not in TASKS:
            raise UnknownName.among("task", task, TASKS, hint=f"--task takes {', '.join(TASKS)}")
        if quant is not None and quant not in QUANTIZATIONS:
            hint = f"--quant takes {', '.join(QUANTIZATIONS)}"
            raise UnknownName.among("quantization", quant, QUANTIZATIONS, hint=hint)
        return cls(
            family=family, task=task, quant=quant, max_params=None if max_params is None else parse_count(max_params)
        )

    def admits(self, entry: Entry) -> bool:
        """Whether an entry passes, the device aside."""
        return (
            (self.family is None or _plain_name(entry.family) == _plain_name(self.family))
            and (self.task is None or entry.task == self.task)
            and (self.max_params is None or entry.parameters <= self.max_params)
        )


@record
class Listed:
    """One model of the list. Without a device ``option`` is None; with one it is the best that fits, or None."""

    entry: Entry
    option: Option | None = None
    longest_context_tokens: int | None = None
    weights_bytes: int | None = None  # in the quantization asked for, where there is no device


def list_entries(
    entries: Iterable[Entry],
    *,
    device: Device,
    reserve_bytes: int,
    request: Request,
    menus: Menus,
) -> tuple[Listed, ...]:
    """Weigh each entry against the device; what fits in no format has no ``option``."""
    budget = make_budget(device, reserve_bytes)
    room_bytes = budget.budget_bytes * device.count
    listed = []
    for entry in entries:
        best = None
        if menus.whole or entry.parameters * SMALLEST_BYTES_A_PARAMETER <= room_bytes:
            best = menus.best(entry.name, entry.architecture, device, request, budget.budget_bytes)
        option, longest = best or (None, None)
        listed.append(Listed(entry=entry, option=option, longest_context_tokens=longest))
    return tuple(listed)


def _plain_name(family: str) -> str:
    """A family's name without case, hyphens and spaces: gpt2 is GPT-2."""
    return "".join(letter for letter in family.lower() if letter.isalnum())


def check_family(family: str | None, known: Iterable[str]) -> None:
    """Raise UnknownName where no entry is of that family."""
    names = sorted(set(known))
    if family is not None and _plain_name(family) not in map(_plain_name, names):
        raise UnknownName.among("family", family, [name.lower() for name in names], hint="gpufit list shows all")


def sort_listed(listed: tuple[Listed, ...], key: str) -> tuple[Listed, ...]:
    """Order a list by one of SORT_KEYS; sizes go from large to small, names from a to z."""
    if key == "catalog":
        return listed
    if key == "name":
        return tuple(sorted(listed, key=lambda row: row.entry.name))
    keys = {
        "parameters": lambda row: row.entry.parameters,
        "process": lambda row: row.option.process.likely_bytes if row.option else 0,
        "headroom": lambda row: row.option.headroom_bytes if row.option else 0,
        "context": lambda row: row.longest_context_tokens or 0,
    }
    if key not in keys:
        raise UnknownName.among("sort key", key, SORT_KEYS, hint=f"--sort takes {', '.join(SORT_KEYS)}")
    return tuple(sorted(listed, key=keys[key], reverse=True))

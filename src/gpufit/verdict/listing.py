"""The catalog against one device: for each model the best precision that fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, get_args

from gpufit.devices.device import Device
from gpufit.errors import Undecided, Unsupported, UsageError
from gpufit.facts.architecture import Architecture, Task
from gpufit.memory.workload import QUANTIZATIONS
from gpufit.records import record
from gpufit.units import parse_count
from gpufit.verdict.advise import Adviser, Option
from gpufit.verdict.budget import make_budget
from gpufit.verdict.plan import Request, plan_workload

TASKS: tuple[str, ...] = get_args(Task)
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
            raise UsageError(f"unknown task {task[:40]!r}", hint=f"--task takes {', '.join(TASKS)}")
        if quant is not None and quant not in QUANTIZATIONS:
            raise UsageError(f"unknown quantization {quant[:40]!r}", hint=f"--quant takes {', '.join(QUANTIZATIONS)}")
        return cls(
            family=family, task=task, quant=quant, max_params=None if max_params is None else parse_count(max_params)
        )

    def admits(self, entry: Entry) -> bool:
        """Whether an entry passes, the device aside."""
        return (
            (self.family is None or entry.family.lower() == self.family.lower())
            and (self.task is None or entry.task == self.task)
            and (self.max_params is None or entry.parameters <= self.max_params)
        )


@record
class Listed:
    """One model of the list. Without a device ``option`` is None; with one it is the best that fits, or None."""

    entry: Entry
    option: Option | None = None
    longest_context_tokens: int | None = None


def list_entries(
    entries: Iterable[Entry],
    *,
    device: Device | None,
    reserve_bytes: int,
    request: Request,
    filters: ListFilter,
    only_fits: bool,
) -> tuple[Listed, ...]:
    """Filter the entries and, where a device is given, weigh each against it."""
    admitted = (entry for entry in entries if filters.admits(entry))
    if device is None:
        return tuple(Listed(entry=entry) for entry in admitted)
    budget = make_budget(device, reserve_bytes)
    listed = []
    for entry in admitted:
        row = _weigh(entry, Adviser(entry.architecture(), device, budget), request, filters.quant)
        if row.option is not None or not only_fits:
            listed.append(row)
    return tuple(listed)


def _weigh(entry: Entry, adviser: Adviser, request: Request, quant: str | None) -> Listed:
    """The best option for one model; none where nothing fits or nothing is known."""
    try:
        workload, _ = plan_workload(adviser.architecture, adviser.device, _bounded(request, adviser, quant))
        option = adviser.weigh(workload, workload.quant) if quant else adviser.best_precision(workload)
    except (Undecided, Unsupported):
        return Listed(entry=entry)
    if option is None or option.verdict == "no":
        return Listed(entry=entry)
    return Listed(entry=entry, option=option, longest_context_tokens=adviser.longest_context(option.workload))


def _bounded(request: Request, adviser: Adviser, quant: str | None) -> Request:
    """The request at no more than the model's own maximum: one list holds models of unlike lengths."""
    longest = adviser.architecture.max_context_tokens
    context = request.context
    if context is not None and longest is not None:
        context = min(context, longest)
    return Request(context=context, batch=request.batch, quant=quant)


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
        raise UsageError(f"unknown sort key {key[:40]!r}", hint=f"--sort takes {', '.join(SORT_KEYS)}")
    return tuple(sorted(listed, key=keys[key], reverse=True))

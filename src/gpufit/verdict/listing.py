"""The catalog against one device: for each model the best precision that fits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, get_args

from gpufit.devices.device import Device
from gpufit.errors import Undecided, UnknownName, Unsupported
from gpufit.facts.architecture import Architecture, Task
from gpufit.memory.ranges import Range
from gpufit.memory.workload import QUANTIZATIONS, Workload
from gpufit.records import as_dict, record, replace
from gpufit.units import parse_count
from gpufit.verdict.advise import Adviser, Option
from gpufit.verdict.budget import Budget, make_budget
from gpufit.verdict.plan import Request, plan_workload

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
    quant: str | None = None,
) -> tuple[Listed, ...]:
    """Weigh each entry against the device; what fits in no format has no ``option``."""
    budget = make_budget(device, reserve_bytes)
    room_bytes = budget.budget_bytes * device.count
    return tuple(
        _weigh(entry, device, budget, request, quant)
        if entry.parameters * SMALLEST_BYTES_A_PARAMETER <= room_bytes
        else Listed(entry=entry)
        for entry in entries
    )


def _weigh(entry: Entry, device: Device, budget: Budget, request: Request, quant: str | None) -> Listed:
    """The best option for one model; none where nothing fits or nothing is known."""
    try:
        adviser = Adviser(entry.architecture(), device, budget)
        longest = adviser.architecture.max_context_tokens
        if request.context is not None and longest is not None and request.context > longest:
            return Listed(entry=entry)
        workload, _ = plan_workload(adviser.architecture, adviser.device, replace(request, quant=quant))
        option = adviser.weigh(workload, workload.quant) if quant else adviser.best_precision(workload)
    except (Undecided, Unsupported):
        return Listed(entry=entry)
    if option is None or option.verdict == "no":
        return Listed(entry=entry)
    return Listed(entry=entry, option=option, longest_context_tokens=adviser.longest_context(option.workload))


def to_plain(listed: Iterable[Listed]) -> list[list[Any]]:
    """The figures of weighed rows in values that JSON can write; ``from_plain`` puts them back."""
    return [
        [
            row.longest_context_tokens,
            option.change,
            as_dict(option.workload),
            as_dict(option.process),
            as_dict(option.load_peak),
            option.budget_bytes,
            option.verdict,
        ]
        if (option := row.option)
        else []
        for row in listed
    ]


def from_plain(entries: Iterable[Entry], plain: Iterable[list[Any]], device: Device) -> tuple[Listed, ...]:
    """Rows from what ``to_plain`` made of them for the same entries and device."""
    return tuple(
        Listed(
            entry=entry,
            longest_context_tokens=figures[0],
            option=Option(
                change=figures[1],
                workload=Workload(**{**figures[2], "compute_capability": device.compute_capability}),
                device=device,
                process=Range(**figures[3]),
                load_peak=Range(**figures[4]),
                budget_bytes=figures[5],
                verdict=figures[6],
            ),
        )
        if figures
        else Listed(entry=entry)
        for entry, figures in zip(entries, plain, strict=True)
    )


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

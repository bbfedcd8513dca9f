"""What a kind of card can load each model as, kept apart from the memory that is free on it.

A menu lists a model's formats, least loss first, each with the exact curve of what it needs over the context. None of
that depends on the budget, so a menu that was made once answers for every free memory, every reserve and every context.
It can be made whole: with the pieces of curve that any budget asks for at that context. ``Menus.kept`` is all of it in
values that JSON can write; a model's facts are read only where that does not answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gpufit.devices.device import Device
from gpufit.errors import Undecided, Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.curve import Curve
from gpufit.memory.ranges import Range
from gpufit.memory.solve import context_curve, context_peaks, window_tokens
from gpufit.memory.workload import Workload
from gpufit.records import as_dict, replace
from gpufit.verdict.advise import Adviser, Option, choose, weigh_needs
from gpufit.verdict.budget import make_budget
from gpufit.verdict.driver_context import measured_context
from gpufit.verdict.plan import Request, pictures_asked, plan_tokens, plan_workload

_ENDLESS = 1 << 62  # a budget that nothing exceeds


def kind_of(device: Device) -> list[Any]:
    """All that a menu depends on of a device, in values that JSON can write: cards of one kind share their menus."""
    measured = as_dict(device.driver_context) if device.driver_context else None
    return [device.compute_capability, device.count, device.vendor, device.architecture, measured]


class Menus:
    """The menus of one kind of card (``kind_of``) and one batch size."""

    def __init__(self, kept: dict[str, Any] | None = None, *, whole: bool = True) -> None:
        """``kept`` is that of an earlier Menus for the same models, kind of card and batch.

        ``whole`` menus answer for other budgets too, which is of use where they are kept.
        """
        self.kept = kept or {}
        self.whole = whole
        self.changed = False

    def best(
        self, name: str, architecture: Callable[[], Architecture], device: Device, request: Request, budget_bytes: int
    ) -> tuple[Option, int | None] | None:
        """The least lossy format that fits the work, else the least lossy that is tight, and its longest context.

        None where nothing is either, or nothing is known; no context for pictures, which have one length. With
        ``request.quant`` that format alone.
        """
        key = f"{name} {request.quant or ''}"
        kept = self.kept.get(key)
        menu = Menu(
            _read_menu(architecture(), device, request) if kept is None else kept, architecture, device, request
        )
        if kept is None and self.whole:
            menu.complete()
        found = menu.best(budget_bytes)
        if menu.close() or kept is None:
            self.kept[key] = menu.kept
            self.changed = True
        return found


class Menu:
    """One model's menu, opened for the work of a request."""

    __slots__ = ("_architecture", "_changed", "_curves", "_device", "_request", "_tokens", "kept")

    def __init__(
        self, kept: dict[str, Any], architecture: Callable[[], Architecture], device: Device, request: Request
    ) -> None:
        self.kept = kept
        self._architecture = architecture
        self._device = device
        self._request = request
        self._tokens: tuple[int, int] | None = None
        self._curves: dict[str, tuple[Workload, Curve, dict[str, Any]]] = {}
        self._changed = False
        longest = kept["longest"]
        if longest is None or (request.context or 0) <= longest:
            self._tokens = plan_tokens(request, longest=longest, generates=kept["generates"])

    def best(self, budget_bytes: int) -> tuple[Option, int | None] | None:
        """See ``Menus.best``."""
        if self._tokens is None:
            return None
        try:
            option = choose(self._options(budget_bytes))
        except Undecided:  # no formula for this family
            return None
        if option is None:
            return None
        workload, curve = self._open(next(one for one in self._formats if one["change"] == option.change))
        if self.kept["one_length"]:
            return option, None
        peaks = context_peaks(self.kept["windows"], workload.new_tokens)
        return option, curve.longest(workload.context_tokens, budget_bytes, peaks)

    def complete(self) -> None:
        """Follow the curves wherever a budget leads: up from this context, in each format while no better one fits."""
        if self.best(_ENDLESS) is None:
            return
        options = self._options(_ENDLESS)
        borders = {max(option.process.high_bytes, option.load_peak.high_bytes) - 1 for option in options}
        for budget_bytes in borders:
            self.best(budget_bytes)

    def close(self) -> bool:
        """Put what was followed meanwhile into ``kept``; whether there was any."""
        for workload, curve, kept in self._curves.values():
            if curve.grown:
                kept["curves"][_work(workload)] = curve.to_plain()
                self._changed = True
        return self._changed

    @property
    def _formats(self) -> list[dict[str, Any]]:
        return [one for one in self.kept["formats"] if not one["refused"]]

    def _options(self, budget_bytes: int) -> Iterator[Option]:
        """Each format weighed; one that turns out not to suit the family is struck off."""
        for one in self._formats:
            workload, curve = self._open(one)
            try:
                figures = curve.at(workload.context_tokens)
            except Unsupported:  # this family has no layer that the format converts
                one["refused"] = self._changed = True
                continue
            needs = Range(*figures[:3]), Range(*figures[3:])
            yield weigh_needs(one["change"], workload, self._device, *needs, budget_bytes)

    def _open(self, one: dict[str, Any]) -> tuple[Workload, Curve]:
        if one["change"] not in self._curves:
            assert self._tokens is not None
            prompt, new_tokens = self._tokens
            workload = Workload(
                prompt_tokens=prompt, new_tokens=new_tokens, batch=self._request.batch, dtype=one["dtype"],
                quant=one["quant"], attention=one["attention"], compute_capability=self._device.compute_capability,
                driver_context=measured_context(self._device),
                images=int(0 < self.kept["picture_tokens"] < prompt),
            )  # fmt: skip
            curve = context_curve(
                self._architecture, workload, top=self.kept["longest"], devices=self._device.count,
                kept=one["curves"].get(_work(workload)),
            )  # fmt: skip
            self._curves[one["change"]] = workload, curve, one
        return self._curves[one["change"]][:2]


def _work(workload: Workload) -> str:
    """What of a workload stays as its context grows, for the name of a curve."""
    return f"{workload.new_tokens} new, {workload.images} pictures"


def _read_menu(architecture: Architecture, device: Device, request: Request) -> dict[str, Any]:
    """The limits and formats of a model; no formats where nothing is known or the card runs none of them."""
    formats = []
    longest = architecture.max_context_tokens
    try:
        workload, _ = plan_workload(architecture, device, replace(request, context=None))
        adviser = Adviser(architecture, device, make_budget(device))
        for dtype, quant in [(workload.dtype, workload.quant)] if request.quant else adviser.formats(workload):
            change = quant if request.quant or quant != "none" else dtype
            formats.append(
                {
                    "change": change, "dtype": dtype, "quant": quant, "attention": workload.attention, "refused": False,
                    "curves": {},
                }
            )  # fmt: skip
    except (Undecided, Unsupported):
        formats = []
    return {
        "longest": longest, "generates": architecture.generates, "formats": formats,
        "one_length": architecture.has_one_length, "picture_tokens": pictures_asked(architecture),
        "windows": window_tokens(architecture),
    }  # fmt: skip

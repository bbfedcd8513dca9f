"""What to change: the best precision that fits, and the smallest changes that make a "no" fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gpufit.devices.device import Device
from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.curve import Curve
from gpufit.memory.estimate import Estimate, estimate
from gpufit.memory.ranges import Range
from gpufit.memory.solve import context_curve, context_peaks, solve_batch, solve_context, window_tokens, with_context
from gpufit.memory.split import share_out
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Quantization, Workload
from gpufit.records import record, replace
from gpufit.verdict.budget import Budget, make_budget
from gpufit.verdict.judge import Verdict, judge, judge_floor
from gpufit.verdict.needs import LOADABLE, NEEDS, STORED
from gpufit.verdict.vendors import quant_support


@record
class Option:
    """A workload and device that were weighed: what it needs and how that was judged."""

    change: str
    workload: Workload
    device: Device
    process: Range
    load_peak: Range
    budget_bytes: int
    verdict: Verdict

    @property
    def headroom_bytes(self) -> int:
        """What stays free at the likely peak, loading included."""
        return self.budget_bytes - max(self.process.likely_bytes, self.load_peak.likely_bytes)


class Adviser:
    """Weighs workloads of one model against one device and reserve."""

    __slots__ = ("architecture", "budget", "device")

    def __init__(self, architecture: Architecture, device: Device, budget: Budget) -> None:
        self.architecture = architecture
        self.device = device
        self.budget = budget

    def weigh(self, workload: Workload, change: str = "as asked", weighed: Estimate | None = None) -> Option:
        """Estimate and judge one workload."""
        if workload.runtime != "transformers" and weighed is None:
            from gpufit.verdict.serving import for_device

            workload = for_device(workload, self.device)
        share = share_out(weighed or estimate(self.architecture, workload), self.device.count)
        found = weigh_needs(change, workload, self.device, share.process, share.load_peak, self.budget.budget_bytes)
        if weighed is None or not weighed.unknown:
            return found
        floor = max(share.process.low_bytes, share.load_peak.low_bytes)
        return replace(found, verdict=judge_floor(floor, self.budget.budget_bytes))

    def need(self, weighed: Estimate) -> int:
        """The bytes that must be within the budget for ``fits``."""
        share = share_out(weighed, self.device.count)
        return max(share.process.high_bytes, share.load_peak.high_bytes)

    def longest_context(self, workload: Workload) -> int:
        """How far the asked context can grow and still be judged ``fits``; where it does not fit, how much is left.

        In tokens; 0 when no context fits. Kernels change with the length, so memory may fall as it grows: where the
        asked context fits, so does every length from there up to the answer; where it does not, every length up to the
        answer fits.
        """
        architecture, budget, asked = self.architecture, self.budget.budget_bytes, workload.context_tokens
        top = architecture.max_context_tokens
        if architecture.has_one_length:
            return asked
        if workload.runtime == "transformers":
            peaks = context_peaks(window_tokens(architecture), workload.new_tokens)
            return self._curve(workload).longest(min(asked, top or asked), budget, peaks)
        found = solve_context(architecture, workload, self.need, budget)
        return asked if found < asked and self.weigh(workload).verdict == "fits" else found

    def larger_below(self, workload: Workload) -> Option | None:
        """A shorter context that does not fit although the asked one does, since another kernel runs it; None without.

        The one that needs most.
        """
        if workload.runtime != "transformers" or self.architecture.task == "vision":
            return None
        peaks = context_peaks(window_tokens(self.architecture), workload.new_tokens)
        over = self._curve(workload).over_below(workload.context_tokens, self.budget.budget_bytes, peaks)
        options = (self.weigh(with_context(workload, n), f"context {n:,}") for n in over)
        return max(options, key=lambda option: option.process.likely_bytes, default=None)

    def _curve(self, workload: Workload) -> Curve:
        top = self.architecture.max_context_tokens
        return context_curve(lambda: self.architecture, workload, top=top, devices=self.device.count)

    def largest_batch(self, workload: Workload) -> int:
        """Largest batch that is judged ``fits``; 0 when none is, and never less than an asked one that fits."""
        found = solve_batch(self.architecture, workload, self.need, self.budget.budget_bytes)
        asked = workload.batch
        return asked if found < asked and self.weigh(workload).verdict == "fits" else found

    def best_precision(self, workload: Workload) -> Option | None:
        """The least lossy format that fits the workload, else the least lossy that is tight, else None."""
        return choose(self._precisions(workload))

    def _precisions(self, workload: Workload) -> Iterator[Option]:
        """Every format that this card can load the model into, least loss first."""
        for dtype, quant in self.formats(workload):
            try:
                if workload.runtime == "transformers" and self._is_beyond(dtype, quant):
                    continue
                yield self.weigh(replace(workload, dtype=dtype, quant=quant), dtype if quant == "none" else quant)
            except Unsupported:  # this family has no layer that the format converts
                continue

    def formats(self, workload: Workload) -> tuple[tuple[str, Quantization], ...]:
        """Dtype and quantization of all that this card could load the model as, least loss first."""
        half = self.half(workload.dtype)
        formats = [(half, quant) for quant, needs in self._loadable(workload) if _can_run(self.device, quant, needs)]
        if workload.dtype == "fp32" and _can_run(self.device, "none", (0, 0)):
            formats.insert(0, ("fp32", "none"))
        return tuple(formats)

    def _is_beyond(self, dtype: str, quant: Quantization) -> bool:
        """Whether the weights alone are more than all devices hold, so that nothing else needs to be counted."""
        weights = count_weights(self.architecture, dtype, quant).total_bytes
        return weights > self.budget.budget_bytes * self.device.count

    def _loadable(self, workload: Workload) -> tuple[tuple[Quantization, tuple[int, int]], ...]:
        """What the checkpoint can be loaded as; one that is stored quantized cannot be quantized once more."""
        files = self.architecture.stored
        converts = workload.runtime == "llama.cpp" and files is not None and files.format != "gguf"
        if files is not None and files.method is not None and not converts:
            return (("stored", (0, 0)),)
        if workload.runtime != "transformers":
            from gpufit.memory.serving import served_formats

            if workload.runtime == "llama.cpp" or not self.architecture.config_quantization:
                return served_formats(self.architecture, workload.runtime)
        stored = STORED.get(self.architecture.config_quantization or "")
        return (LOADABLE[0], stored) if stored else LOADABLE

    def half(self, dtype: str) -> str:
        """The 16-bit format for this card: the one asked for, else bf16 where the card is known to compute it."""
        if dtype != "fp32":
            return dtype
        return "bf16" if "bf16" in (self.device.dtypes or ()) else "fp16"

    def changes(self, workload: Workload, larger: Callable[[], tuple[Device, ...]]) -> tuple[Option, ...]:
        """Up to three smallest changes that make the workload fit, least loss first."""
        from gpufit.verdict.changes import smallest_changes

        return smallest_changes(self, workload, larger)

    def smaller_formats(self, workload: Workload) -> tuple[Quantization, ...]:
        """Formats that this card can load the weights into, least loss first, less the checkpoint's own."""
        return tuple(quant for quant, needs in self._loadable(workload)[1:] if _can_run(self.device, quant, needs))

    def beside(self, card: Device) -> Adviser:
        """The same question of another card."""
        return Adviser(self.architecture, card, make_budget(card, self.budget.reserve_bytes))

    @staticmethod
    def serves(card: Device, workload: Workload) -> bool:
        """Whether a card that is offered runs CUDA and what is asked of it: dtype, quantization, attention kernel."""
        needs = [NEEDS.get(workload.quant, (0, 0)), (8, 0) if workload.attention == "flash" else (0, 0)]
        if workload.dtype == "bf16":
            needs.append((8, 0))
        capability = card.compute_capability
        return card.vendor in ("NVIDIA", None) and capability is not None and capability >= max(needs)


def weigh_needs(
    change: str, workload: Workload, device: Device, process: Range, load_peak: Range, budget_bytes: int
) -> Option:
    """An Option from what a workload needs: the worse of running and loading decides."""
    verdicts = (judge(process, budget_bytes), judge(load_peak, budget_bytes))
    return Option(
        change=change, workload=workload, device=device, process=process, load_peak=load_peak,
        budget_bytes=budget_bytes, verdict=max(verdicts, key=("fits", "tight", "no").index),
    )  # fmt: skip


def choose(options: Iterable[Option]) -> Option | None:
    """The first option that fits, else the first that is tight, else None."""
    tight = None
    for option in options:
        if option.verdict == "fits":
            return option
        if option.verdict == "tight" and tight is None:
            tight = option
    return tight


def _can_run(device: Device, quant: Quantization, capability: tuple[int, int]) -> bool:
    """Whether the card is known to have the kernels; an unknown generation of NVIDIA's is not held against it."""
    if device.vendor in ("NVIDIA", None):
        return device.compute_capability is None or device.compute_capability >= capability
    return quant == "stored" or quant_support(device, quant) == "yes"

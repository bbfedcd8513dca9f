"""The answer to one check: everything that the table and the JSON show, in one record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gpufit.devices.device import Device
from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.breakdown import Row, break_down
from gpufit.memory.estimate import Estimate, estimate
from gpufit.memory.floor import estimate_known
from gpufit.memory.split import Share, share_out
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Workload
from gpufit.records import record
from gpufit.units import format_gib
from gpufit.verdict.advise import Adviser, Option
from gpufit.verdict.budget import Budget, make_budget
from gpufit.verdict.driver_context import context_notes
from gpufit.verdict.judge import Verdict
from gpufit.verdict.needs import LOADABLE, STORED

if TYPE_CHECKING:
    from gpufit.memory.runtime_plan import RuntimePlan


@record
class Subject:
    """The model as the user asked for it: its name, where its facts come from, and its facts."""

    name: str
    origin: str
    architecture: Architecture
    hub_id: str | None = None
    notes: tuple[str, ...] = ()


@record
class Check:
    """One model, one workload, one device: the verdict with all that explains it."""

    subject: Subject
    workload: Workload
    device: Device
    budget: Budget
    estimate: Estimate
    share: Share  # the same on the cards that it is spread over; its totals are the fullest card's
    asked: Option
    breakdown: tuple[Row, ...]
    longest_context_tokens: int | None  # None: pictures have one length, or, as for the batch, nobody knows
    largest_batch: int | None
    recommendation: Option | None
    alternatives: tuple[Option, ...]
    formats: tuple[tuple[str, int], ...]  # the weights alone in each format that the runtime loads a checkpoint into
    notes: tuple[str, ...]
    runtime_plan: RuntimePlan | None = None  # what to ask vLLM or llama.cpp for
    recommended_plan: RuntimePlan | None = None  # the same for the recommendation, where that is another workload

    @property
    def verdict(self) -> Verdict:
        """fits, tight, no, or unknown where only a lower bound is known and that is within the budget."""
        return self.asked.verdict

    def to_dict(self) -> dict[str, object]:
        """The record that ``--json`` prints."""
        from gpufit.render.check_json import check_to_dict

        return check_to_dict(self)


def weights_by_format(architecture: Architecture) -> tuple[tuple[str, int], ...]:
    """Bytes of the weights alone, from four bytes a parameter down to half a byte.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> weights_by_format(llama)[0]
    ('fp32', 26953662464)
    """
    dtype = "bf16" if architecture.dtype in ("bf16", "bfloat16") else "fp16"
    found = [("fp32", count_weights(architecture, "fp32", "none").total_bytes)]
    if architecture.stored is not None and architecture.stored.method is not None:
        return (*found, ("stored", count_weights(architecture, dtype, "stored").total_bytes))
    stored = STORED.get(architecture.config_quantization or "")
    for quant, _ in (LOADABLE[0], stored) if stored else LOADABLE:
        try:
            size = count_weights(architecture, dtype, quant).total_bytes
        except Unsupported:
            continue
        found.append((dtype if quant == "none" else quant, size))
    return tuple(found)


def check_fit(
    subject: Subject,
    workload: Workload,
    device: Device,
    *,
    reserve_bytes: int = 0,
    larger: Callable[[], tuple[Device, ...]] = tuple,
    notes: tuple[str, ...] = (),
) -> Check:
    """Judge ``workload`` on ``device`` and say what would be better. ``larger`` lists bigger cards, smallest first."""
    budget = make_budget(device, reserve_bytes)
    adviser = Adviser(subject.architecture, device, budget)
    own = estimate_known(subject.architecture, workload)
    asked = adviser.weigh(workload, weighed=own)
    share = share_out(own, device.count)
    if own.unknown:
        return Check(
            subject=subject, workload=workload, device=device, budget=budget, estimate=own, share=share, asked=asked,
            breakdown=break_down(own, share.fullest), longest_context_tokens=None, largest_batch=None,
            recommendation=None, alternatives=(), formats=weights_by_format(subject.architecture),
            notes=(*subject.notes, *subject.architecture.notes, *device.notes, *notes, _how_to_know(subject),
                   *context_notes(workload.driver_context)),
        )  # fmt: skip
    longest, largest = adviser.longest_context(workload), adviser.largest_batch(workload)
    best = adviser.best_precision(workload)
    return Check(
        subject=subject, workload=workload, device=device, budget=budget, estimate=own, share=share, asked=asked,
        breakdown=break_down(own, share.fullest),
        longest_context_tokens=None if subject.architecture.has_one_length else longest,
        largest_batch=largest,
        recommendation=best,
        alternatives=adviser.changes(workload, larger) if asked.verdict == "no" else (),
        formats=_formats(subject.architecture, workload),
        notes=(*subject.notes, *subject.architecture.notes, *device.notes, *notes, *_shorter_ones(adviser, asked),
               *context_notes(workload.driver_context)),
        runtime_plan=_plan_runtime(subject, own, budget, longest, largest),
        recommended_plan=None if best is None or best.workload == workload else _plan_best(subject, adviser, best),
    )  # fmt: skip


def _formats(architecture: Architecture, workload: Workload) -> tuple[tuple[str, int], ...]:
    """The weights alone in each format that the workload's runtime loads."""
    if workload.runtime == "transformers":
        return weights_by_format(architecture)
    from gpufit.memory.serving import weigh_formats

    return weigh_formats(architecture, workload)


def _shorter_ones(adviser: Adviser, asked: Option) -> tuple[str, ...]:
    """A warning where the asked context fits and a shorter one does not."""
    larger = adviser.larger_below(asked.workload) if asked.verdict == "fits" else None
    if larger is None:
        return ()
    need, tokens = larger.process, larger.workload.context_tokens
    return (
        f"shorter contexts can need more here, through another attention kernel: {tokens:,} tokens take about "
        f"{format_gib(need.likely_bytes)}, at most {format_gib(need.high_bytes)}",
    )


def _how_to_know(subject: Subject) -> str:
    """What would tell the rows that no formula here does."""
    return (
        f"gpufit has no formula for {subject.architecture.model_type}, so the sum is a lower bound; gpufit replay "
        f"{subject.name} runs the modelling code itself"
    )


def _plan_best(subject: Subject, adviser: Adviser, best: Option) -> RuntimePlan | None:
    """The settings of a serving runtime for the recommendation."""
    if best.workload.runtime == "transformers":
        return None
    longest, largest = adviser.longest_context(best.workload), adviser.largest_batch(best.workload)
    return _plan_runtime(subject, estimate(subject.architecture, best.workload), adviser.budget, longest, largest)


def _plan_runtime(subject: Subject, own: Estimate, budget: Budget, longest: int, largest: int) -> RuntimePlan | None:
    """The settings of a serving runtime; transformers has none."""
    if own.workload.runtime == "transformers":
        return None
    from gpufit.memory.serving import plan_served

    return plan_served(
        own, model=subject.hub_id or subject.name, total_bytes=budget.total_bytes, budget_bytes=budget.budget_bytes,
        longest_tokens=longest, largest_batch=largest,
    )  # fmt: skip

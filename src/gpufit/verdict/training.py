"""The answer to one training check: plan, estimate, verdict, limits and the smallest changes, in one record."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.devices.device import Device
from gpufit.memory.breakdown import Row
from gpufit.memory.training.breakdown import break_down_training
from gpufit.memory.training.estimate import TrainingEstimate, estimate_training
from gpufit.memory.training.plan import TrainingPlan
from gpufit.records import record
from gpufit.verdict.budget import Budget, make_budget
from gpufit.verdict.check import Subject
from gpufit.verdict.driver_context import context_notes
from gpufit.verdict.judge import Verdict
from gpufit.verdict.training_advise import TrainingAdviser, TrainingOption


@record
class TrainingCheck:
    """One model, one training plan, one kind of device (``device.count`` of them)."""

    subject: Subject
    plan: TrainingPlan
    device: Device
    budget: Budget
    estimate: TrainingEstimate
    asked: TrainingOption
    breakdown: tuple[Row, ...]
    largest_micro_batch: int
    longest_seq_tokens: int
    alternatives: tuple[TrainingOption, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """fits, tight or no."""
        return self.asked.verdict


def check_training(
    subject: Subject,
    plan: TrainingPlan,
    device: Device,
    *,
    reserve_bytes: int = 0,
    larger: Callable[[], tuple[Device, ...]] = tuple,
    notes: tuple[str, ...] = (),
) -> TrainingCheck:
    """Judge ``plan`` on ``device`` and say what would make it fit. ``larger`` lists bigger cards, smallest first."""
    budget = make_budget(device, reserve_bytes)
    adviser = TrainingAdviser(subject.architecture, device, budget)
    own = estimate_training(subject.architecture, plan)
    asked = adviser.weigh(plan, weighed=own)
    return TrainingCheck(
        subject=subject, plan=plan, device=device, budget=budget, estimate=own, asked=asked,
        breakdown=break_down_training(own),
        largest_micro_batch=adviser.largest_micro_batch(plan),
        longest_seq_tokens=adviser.longest_seq(plan),
        alternatives=adviser.changes(plan, larger) if asked.verdict == "no" else (),
        notes=(*subject.notes, *subject.architecture.notes, *device.notes, *notes,
               *context_notes(plan.driver_context)),
    )  # fmt: skip

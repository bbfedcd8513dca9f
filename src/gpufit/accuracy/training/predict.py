"""A training row's prediction: which figure of the estimate its metric is."""

from __future__ import annotations

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal
from gpufit.accuracy.training.loading import played_rests
from gpufit.accuracy.training.row import TrainingRow
from gpufit.accuracy.training.work import plan_row
from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.runtime import driver_part
from gpufit.memory.training.breakdown import break_down_training
from gpufit.memory.training.estimate import TrainingEstimate, estimate_training
from gpufit.units import MIB

PRINTED = Range(-MIB // 2, 0, MIB // 2)  # tables print whole MiB
_PHASES = {"peak_forward": "forward", "peak_backward": "backward", "peak_optimizer": "step"}


def predict_training(row: Measurement, architecture: Architecture, card: Card) -> Prediction | Refusal:
    """The row's metric on one rank, with the rows of the estimate behind it."""
    work = row.training_row
    if work is None:
        return Refusal(reason="the row states nothing about its training")
    plan = plan_row(row, work, architecture, card)
    if isinstance(plan, Refusal):
        return plan
    estimate = estimate_training(architecture, plan)
    found = _metric(row, work, estimate, card)
    if isinstance(found, Refusal):
        return found
    parts = tuple(Part(part.name, part.range, part.formula) for part in break_down_training(estimate))
    return Prediction(range=found, parts=parts)


def _metric(row: Measurement, work: TrainingRow, e: TrainingEstimate, card: Card) -> Range | Refusal:
    held, metric = e.residents, row.metric
    if metric == "weights_only":
        return Range.exact(held.model_bytes if e.plan.trains_adapters else held.weights_bytes)
    if metric == "gradients":
        return Range.exact(held.gradients_bytes) + PRINTED
    if metric == "optimizer_states":
        return Range.exact(held.optimizer.states_bytes) + PRINTED
    if metric == "cpu_tensors_peak":  # gpufit measure --device cpu
        return Range.exact(e.tensors_in(e.phase.name))
    if metric == "cuda_context":
        return e.context.bytes
    rests = played_rests(e)
    if metric == "resident_after_load":
        return Range.exact(held.model_bytes + held.buffers_bytes) + rests + PRINTED
    settled = Range(-held.rounding_bytes, -held.rounding_bytes, -held.rounding_bytes) + rests
    if metric in _PHASES:
        return Range.exact(e.phase_bytes(_PHASES[metric])) + settled + PRINTED
    allocated = e.allocated + (settled if e.plan.gpus == 1 else ZERO)
    if metric in ("torch_max_allocated", "unknown"):
        return allocated + PRINTED
    reserved = allocated + _within_card(e, card)
    if metric == "torch_max_reserved":
        return reserved
    process = reserved + e.context.bytes + e.collectives
    if metric == "nvml_process":
        return process
    if metric in ("nvidia-smi", "nvml_device_used"):
        return process + Range(0, 0, driver_part(card.total_bytes, card.usable_bytes).high_bytes)
    return Refusal(reason=f"the metric {metric[:40]!r} is not one that gpufit predicts in training")


def _within_card(e: TrainingEstimate, card: Card) -> Range:
    """The slack on a card with room: what every phase leaves cached may stand beside the widest one's pieces.

    When the card is full the allocator gives its cached segments back.
    """
    others = sum(p.temporaries_bytes + p.step_bytes for p in e.phases if p is not e.phase)
    slack = e.slack + Range(0, 0, max(others, e.phase.temporaries_bytes))
    if card.total_bytes is None:
        return slack
    room = max(0, card.total_bytes - e.context.bytes.low_bytes - e.allocated.likely_bytes)
    return Range(min(room, slack.low_bytes), min(room, slack.likely_bytes), min(room, slack.high_bytes))

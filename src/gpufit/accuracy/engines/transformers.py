"""transformers: the row's workload, its estimate, and the total that the metric names."""

from __future__ import annotations

from gpufit.accuracy.cards import Card
from gpufit.accuracy.engines.transformers_total import predict
from gpufit.accuracy.engines.transformers_work import plan_row, without_groups
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Prediction, Refusal
from gpufit.facts.architecture import Architecture
from gpufit.memory.estimate import estimate
from gpufit.memory.ranges import Range


def predict_row(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    """The row's metric; its low end allows the smallest format that the row's words leave open."""
    workload = plan_row(row, architecture, card)
    if isinstance(workload, Refusal):
        return workload
    own = estimate(architecture, workload)
    found = predict(row, own, card, cards)
    if isinstance(found, Refusal):
        return found
    smaller = without_groups(row, workload)
    if smaller is not None:
        less = own.allocated.likely_bytes - estimate(architecture, smaller).allocated.likely_bytes
        found = Range(found.low_bytes - max(0, less), found.likely_bytes, found.high_bytes)
    return Prediction(range=found, estimate=own)

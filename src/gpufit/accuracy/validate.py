"""Every row of a file of measurements, held against its estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpufit.accuracy.cards import Card, split_count
from gpufit.accuracy.engines import predictor_of
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Part, Prediction, Refusal
from gpufit.accuracy.summary import Summary, summarize
from gpufit.errors import GpufitError
from gpufit.facts.architecture import Architecture
from gpufit.memory.estimate import Estimate
from gpufit.memory.ranges import Range
from gpufit.records import record

FindArchitecture = Callable[[str], "Architecture | None"]
FindCard = Callable[[str], Card]


@record
class Comparison:
    """One row, with its prediction and the estimate or the parts behind it, or the reason why there is none."""

    row: Measurement
    predicted: Range | None = None
    estimate: Estimate | None = None
    parts: tuple[Part, ...] = ()
    reason: str = ""

    @property
    def error(self) -> float | None:
        """(likely - measured) / measured; positive where gpufit says too much."""
        if self.predicted is None or not self.row.measured_bytes:
            return None
        return (self.predicted.likely_bytes - self.row.measured_bytes) / self.row.measured_bytes

    @property
    def inside(self) -> bool:
        """Whether the measured value lies in the stated range."""
        measured = self.row.measured_bytes or 0
        return self.predicted is not None and self.predicted.low_bytes <= measured <= self.predicted.high_bytes


@record
class Validation:
    """All comparisons in the file's order, and their summaries: one for each source, and the total."""

    comparisons: tuple[Comparison, ...]
    sources: tuple[Summary, ...]
    total: Summary


def validate(rows: Iterable[Measurement], *, find_architecture: FindArchitecture, find_card: FindCard) -> Validation:
    """Compare every row. ``find_architecture`` answers None for a model it does not know."""
    found = tuple(compare(row, find_architecture=find_architecture, find_card=find_card) for row in rows)
    names = dict.fromkeys(comparison.row.source for comparison in found)
    return Validation(
        comparisons=found,
        sources=tuple(summarize(name, [c for c in found if c.row.source == name]) for name in names),
        total=summarize("total", found),
    )


def compare(row: Measurement, *, find_architecture: FindArchitecture, find_card: FindCard) -> Comparison:
    """One row; whatever gpufit refuses becomes the row's reason."""
    if row.problem:
        return Comparison(row=row, reason=row.problem)
    predict = _predict_training if row.training else predictor_of(row.engine)
    if isinstance(predict, Refusal):
        return Comparison(row=row, reason=predict.reason)
    try:
        architecture = find_architecture(row.architecture)
        if architecture is None:
            return Comparison(row=row, reason=f"the architecture {row.architecture[:80]!r} was not found")
        count, name = split_count(row.gpu)
        found = predict(row, architecture, find_card(name), count)
    except GpufitError as refused:
        return Comparison(row=row, reason=refused.message)
    if isinstance(found, Refusal):
        return Comparison(row=row, reason=found.reason)
    return Comparison(row=row, predicted=found.range, estimate=found.estimate, parts=found.parts)


def _predict_training(row: Measurement, architecture: Architecture, card: Card, cards: int) -> Prediction | Refusal:
    from gpufit.accuracy.training.predict import predict_training

    return predict_training(row, architecture, card)

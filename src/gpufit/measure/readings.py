"""What was measured, as plain data. A reading that nobody could take is None, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gpufit.measure.job import Job
from gpufit.records import record

Outcome = Literal["ok", "out_of_memory", "timeout", "interrupted", "failed", "killed"]


@record
class Reading:
    """Bytes at one moment, or the most over a stage.

    ``allocated_bytes`` is what torch's max_memory_allocated counts (on the CPU: storages alive), ``reserved_bytes``
    max_memory_reserved, ``process_bytes`` what the driver shows for the process (on the CPU: its resident set).
    """

    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    process_bytes: int | None = None


@record
class Stage:
    """One part of the run: the most that it held, what it left behind, and how long it took."""

    name: str
    peak: Reading
    after: Reading
    seconds: float
    tokens: int = 0

    @property
    def tokens_per_second(self) -> float | None:
        """None for stages that make or read no tokens."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None


@record
class Measurement:
    """One run on a real device, whole or broken off.

    ``stopped_in`` names the stage that did not end and ``last`` the readings at that moment. ``context_bytes`` is the
    driver's own part: what the process held before the first tensor.
    """

    job: Job
    outcome: Outcome
    stages: tuple[Stage, ...] = ()
    versions: Mapping[str, str] | None = None
    device_name: str = ""
    device_uuid: str = ""
    context_bytes: int | None = None
    stopped_in: str = ""
    last: Reading | None = None
    message: str = ""
    notes: tuple[str, ...] = ()

    def stage(self, name: str) -> Stage | None:
        """The stage of that name, None where the run did not come to it."""
        return next((stage for stage in self.stages if stage.name == name), None)


def stage_from(fields: Mapping[str, Any]) -> Stage:
    """A stage from the JSON that the child wrote.

    >>> stage_from({"name": "prefill", "peak": {"allocated_bytes": 5}, "after": {}, "seconds": 0.5, "tokens": 4}
    ...            ).tokens_per_second
    8.0
    """
    return Stage(
        name=str(fields["name"]), peak=Reading(**fields["peak"]), after=Reading(**fields["after"]),
        seconds=float(fields["seconds"]), tokens=int(fields.get("tokens", 0)),
    )  # fmt: skip

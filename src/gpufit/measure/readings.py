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
    driver's own part: what the process held before the first tensor. ``context_by_difference``: the driver does not
    tell what this process holds, so that the growth of the whole device was taken for it.
    """

    job: Job
    outcome: Outcome
    stages: tuple[Stage, ...] = ()
    versions: Mapping[str, str] | None = None
    device_name: str = ""
    device_uuid: str = ""
    context_bytes: int | None = None
    context_by_difference: bool = False
    stopped_in: str = ""
    last: Reading | None = None
    message: str = ""
    notes: tuple[str, ...] = ()

    @property
    def most_context_bytes(self) -> int | None:
        """The most that the driver held beside torch's memory by the end of a stage: kernels load as they are called.

        >>> after = Reading(allocated_bytes=50, reserved_bytes=60, process_bytes=200)
        >>> stage = Stage(name="prefill", peak=after, after=after, seconds=1.0)
        >>> job = Job(name="", config={}, device="cuda:0", dtype="fp16", quant="none", attention="sdpa",
        ...           prompt_tokens=1, new_tokens=1, batch=1)
        >>> Measurement(job=job, outcome="ok", stages=(stage,), context_bytes=133).most_context_bytes
        140
        """
        if self.context_bytes is None:
            return None
        left = [
            stage.after.process_bytes - stage.after.reserved_bytes
            for stage in self.stages
            if stage.after.process_bytes is not None and stage.after.reserved_bytes is not None
        ]
        return max(self.context_bytes, *left) if left else self.context_bytes

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

"""Real runs on a processor beside the estimate: the table docs/measured_cpu.csv (``benchmarks/measure_cpu.py``)."""

from __future__ import annotations

import csv
from pathlib import Path

from gpufit.errors import BadFile
from gpufit.records import record

COLUMNS = (
    "kind",
    "model",
    "format",
    "batch",
    "prompt",
    "new",
    "stage",
    "measured_bytes",
    "estimated_bytes",
    "versions",
)


@record
class ProcessorRow:
    """The most that a stage held: tensors alive, measured and estimated."""

    kind: str
    model: str
    format: str
    work: str
    stage: str
    measured_bytes: int
    estimated_bytes: int
    versions: str

    @property
    def error(self) -> float:
        """Estimated less measured, as a share of the measured."""
        return self.estimated_bytes / self.measured_bytes - 1


def read_processor_runs(path: Path) -> tuple[ProcessorRow, ...]:
    """The table's rows. Raises BadFile where it is missing or not such a table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return tuple(
                ProcessorRow(
                    kind=row["kind"], model=row["model"], format=row["format"],
                    work=_work(row),
                    stage=row["stage"], measured_bytes=int(row["measured_bytes"]),
                    estimated_bytes=int(row["estimated_bytes"]), versions=row["versions"],
                )
                for row in csv.DictReader(file)
            )  # fmt: skip
    except (OSError, KeyError, ValueError) as problem:
        raise BadFile(f"{path} is not a table of runs: {problem}") from problem


def _work(row: dict[str, str]) -> str:
    if row["kind"] == "vision":
        return f"{row['batch']} pictures"
    return f"{row['batch']} × {row['prompt']}" + (f" + {row['new']}" if row["new"] != "0" else "")

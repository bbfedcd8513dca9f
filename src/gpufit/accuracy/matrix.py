"""Closed forms beside replays, case by case: docs/replay_matrix.csv, docs/training_matrix.csv, what they say in sum."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from gpufit.errors import BadFile
from gpufit.records import record

COLUMNS = ("size", "model", "form", "work", "dtype", "attention", "batch", "prompt", "new", "phase", "replayed_bytes",
           "closed_form_bytes", "torch", "transformers")  # fmt: skip


@record
class Case:
    """One cell of the matrix. ``size`` is shrunken, shallow or full; ``prompt`` is cut where positions end sooner.

    ``work`` is inference, or what is trained and how: full, lora, either with "checkpointed" behind it; the prompt is
    then the sequence and there are no new tokens.
    """

    size: str
    model: str
    dtype: str
    attention: str
    prompt: int
    new: int
    batch: int
    work: str = "inference"

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells two cases apart, in the table's order."""
        return self.size, self.model, self.work, self.dtype, self.attention, self.batch, self.prompt, self.new


@record
class MatrixRow:
    """One phase of a case: bytes above the weights by replay and by closed form (None where there is no form)."""

    case: Case
    form: str
    phase: str
    replayed_bytes: int
    closed_form_bytes: int | None
    torch: str
    transformers: str

    @property
    def difference(self) -> float | None:
        """The closed form's distance, as a fraction of the replayed bytes."""
        return None if self.closed_form_bytes is None else self.closed_form_bytes / self.replayed_bytes - 1


@record
class MatrixSummary:
    """How far the closed forms of some rows lie: the median and the worst distance, as fractions, without sign."""

    name: str
    models: int
    rows: int
    median: float
    worst: float
    worst_row: MatrixRow


def read_matrix(path: Path) -> list[MatrixRow]:
    """The rows of a table. Raises BadFile where it is not one."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [_row(cells) for cells in csv.DictReader(file)]
    except (OSError, KeyError, ValueError) as problem:
        raise BadFile(f"cannot read the matrix {path.name}: {problem}") from problem


def _row(cells: dict[str, str]) -> MatrixRow:
    form_bytes = cells["closed_form_bytes"]
    return MatrixRow(
        case=Case(
            size=cells["size"], model=cells["model"], dtype=cells["dtype"], attention=cells["attention"],
            prompt=int(cells["prompt"]), new=int(cells["new"]), batch=int(cells["batch"]),
            work=cells["work"],
        ),
        form=cells["form"], phase=cells["phase"], replayed_bytes=int(cells["replayed_bytes"]),
        closed_form_bytes=int(form_bytes) if form_bytes else None, torch=cells["torch"],
        transformers=cells["transformers"],
    )  # fmt: skip


def write_matrix(path: Path, rows: Iterable[MatrixRow]) -> None:
    """Write a table in a fixed order, so that a difference shows what changed."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in sorted(rows, key=lambda row: (row.case.key, row.phase)):
            c, form = row.case, row.closed_form_bytes
            cell = (c.size, c.model, row.form, c.work, c.dtype, c.attention, c.batch, c.prompt, c.new, row.phase)
            known = "" if form is None else form
            writer.writerow((*cell, row.replayed_bytes, known, row.torch, row.transformers))


def summarize(name: str, rows: Sequence[MatrixRow]) -> MatrixSummary | None:
    """Median and worst of the rows that have a form; None where none has."""
    known = [(abs(row.difference), row) for row in rows if row.difference is not None]
    if not known:
        return None
    worst, row = max(known, key=lambda pair: pair[0])
    return MatrixSummary(
        name=name, models=len({row.case.model for _, row in known}), rows=len(known),
        median=median(distance for distance, _ in known), worst=worst, worst_row=row,
    )  # fmt: skip


def read_missing(path: Path) -> list[tuple[str, str, str, str]]:
    """Size, model, dtype and reason of what could not be replayed."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["size"], row["model"], row["dtype"], row["reason"]) for row in csv.DictReader(file)]

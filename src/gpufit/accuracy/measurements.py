"""Measurements from a CSV file: bounded, tolerant of unknown columns, strict about each value it uses.

A broken row never stops the file: it is kept with the ``problem`` that makes it unusable.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from gpufit.accuracy.training.row import TrainingRow, parse_training
from gpufit.errors import BadFile, unreadable
from gpufit.records import record

LARGEST_FILE_BYTES = 16 << 20
LARGEST_ROWS = 100_000
LARGEST_CELL = 4096
LARGEST_NUMBER = 1 << 62
NEEDED = ("architecture", "metric", "measured_bytes")
_WHOLE = re.compile(r"[0-9]{1,19}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")


@record
class Measurement:
    """One row: the work, the device and what was measured. Text that was not given is empty, numbers are None."""

    line: int
    id: str
    source: str
    architecture: str
    engine: str
    engine_version: str
    weight_dtype: str
    quant_method: str
    kv_dtype: str
    attention: str
    gpu: str
    metric: str
    confidence: str
    notes: str
    batch: int | None
    prompt_tokens: int | None
    new_tokens: int | None
    kv_tokens: int | None
    max_model_len: int | None
    max_num_batched_tokens: int | None
    tensor_parallel: int | None
    measured_bytes: int | None
    training: bool
    training_row: TrainingRow | None = None
    problem: str = ""


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """Every row of the file, in order.

    Raises BadFile where the file cannot be read, is larger than 16 MiB, is not UTF-8 CSV, or lacks a needed column.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_FILE_BYTES + 1)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if len(content) > LARGEST_FILE_BYTES:
        raise BadFile(f"{path} is larger than {LARGEST_FILE_BYTES >> 20} MiB", hint="split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise BadFile(f"{path} is not UTF-8 text (byte {problem.start})", hint="save it as UTF-8") from problem
    return parse_measurements(text, name=str(path))


def parse_measurements(text: str, *, name: str = "the file") -> tuple[Measurement, ...]:
    """Rows of CSV text.

    >>> row, = parse_measurements("architecture,metric,measured_bytes,batch\\ngpt2,weights_only,12,x\\n")
    >>> row.problem
    "batch is 'x', not a whole number"
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found: list[Measurement] = []
    try:
        columns = set(reader.fieldnames or ())
        missing = [column for column in NEEDED if column not in columns]
        if missing:
            raise BadFile(
                f"{name} has no column {', '.join(missing)}",
                hint=f"the first line names the columns; needed: {', '.join(NEEDED)}",
            )
        training = "optimizer" in columns or "micro_batch" in columns
        for row in reader:
            if len(found) >= LARGEST_ROWS:
                raise BadFile(f"{name} has more than {LARGEST_ROWS:,} rows", hint="split it")
            found.append(_measurement(row, reader.line_num, training))
    except csv.Error as problem:
        raise BadFile(f"{name} is not CSV: line {reader.line_num}: {problem}") from problem
    return tuple(found)


def _measurement(row: Mapping[str | None, object], line: int, training: bool) -> Measurement:
    problems: list[str] = []

    def text(column: str) -> str:
        value = row.get(column)
        if not isinstance(value, str):  # a short row, or an unknown column
            return ""
        if len(value) > LARGEST_CELL:
            problems.append(f"{column} is longer than {LARGEST_CELL} characters")
            return ""
        return _CONTROL.sub("?", value).strip()

    def whole(column: str, low: int) -> int | None:
        value = text(column)
        if not value:
            return None
        if not _WHOLE.fullmatch(value):
            problems.append(f"{column} is {value[:40]!r}, not a whole number")
            return None
        number = int(value)
        if not low <= number <= LARGEST_NUMBER:
            problems.append(f"{column} is {value[:40]}, not from {low} to 2^62")
            return None
        return number

    measured = whole("measured_bytes", 1)
    if measured is None and not problems:
        problems.append("measured_bytes is empty")
    return Measurement(
        line=line, id=text("id") or f"line {line}", source=text("source") or "(none)",
        architecture=text("architecture"), engine=text("engine") or "transformers",
        engine_version=text("engine_version"), weight_dtype=text("weight_dtype"), quant_method=text("quant_method"),
        kv_dtype=text("kv_dtype"), attention=text("attention"), gpu=text("gpu"), metric=text("metric"),
        confidence=text("confidence"), notes=text("notes"), batch=whole("batch", 1),
        prompt_tokens=whole("prompt_tokens", 1), new_tokens=whole("new_tokens", 0), kv_tokens=whole("kv_tokens", 1),
        max_model_len=whole("max_model_len", 1), max_num_batched_tokens=whole("max_num_batched_tokens", 1),
        tensor_parallel=whole("tensor_parallel", 1), measured_bytes=measured, training=training,
        training_row=parse_training(text, whole) if training else None, problem="; ".join(problems),
    )  # fmt: skip

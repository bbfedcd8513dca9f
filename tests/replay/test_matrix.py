"""The table of closed forms against replays: within its limits, current, and a sample of it replayed again."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

import pytest

from gpufit.accuracy.matrix import MatrixRow, read_matrix, summarize, write_matrix
from gpufit.facts.read import parse_config
from gpufit.memory.workload import Workload
from gpufit.render.matrix_page import BOUNDS, render_matrix
from gpufit.replay.closed_forms import closed_forms

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from replay_matrix import MATRIX, compare, configurations  # noqa: E402

ROWS = read_matrix(MATRIX)
MEDIAN, WORST = 0.002, 0.02
SAMPLE = ("llama-grouped", "mixtral", "gemma3", "led", "t5-gated", "deberta", "qwen3_5", "clip")


def test_the_whole_matrix_is_within_its_limits() -> None:
    distances = {
        (row.case.key, row.phase): abs(row.difference)
        for row in ROWS
        if row.difference is not None and row.form not in BOUNDS
    }
    assert {cell: distance for cell, distance in distances.items() if distance > WORST} == {}
    assert median(distances.values()) <= MEDIAN


def test_the_closed_forms_of_the_table_are_todays() -> None:
    """Refresh with ``python benchmarks/replay_matrix.py`` where a form was changed."""
    known = {}
    stale = []
    for row in ROWS:
        if row.case.size != "shrunken":
            continue
        c = row.case
        if c.key not in known:
            architecture = parse_config(configurations(c.size)[c.model])
            tokens = min(c.prompt, max((architecture.max_context_tokens or c.prompt + c.new) - c.new, 1))
            tokens = min(tokens, 200) if architecture.stacks[0].mixer else tokens
            work = Workload(prompt_tokens=tokens, new_tokens=c.new, batch=c.batch, dtype=c.dtype,
                            attention=c.attention)  # type: ignore[arg-type]  # fmt: skip
            known[c.key] = closed_forms(architecture, work)
        if known[c.key].get(row.phase) != row.closed_form_bytes:
            stale.append((c.key, row.phase, row.closed_form_bytes, known[c.key].get(row.phase)))
    assert stale == []


@pytest.mark.real
@pytest.mark.parametrize("model", SAMPLE)
def test_a_sample_replays_as_the_table_says(model: str) -> None:
    pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
    stored: dict[str, MatrixRow] = {}
    for row in ROWS:
        if row.case.model == model and (not stored or row.case == next(iter(stored.values())).case):
            stored[row.phase] = row
    assert stored, "the table has no such model"
    found, reason = compare(next(iter(stored.values())).case)
    assert not reason
    first = found[0]
    if (first.torch, first.transformers) != (stored[first.phase].torch, stored[first.phase].transformers):
        pytest.skip("the table was made with other versions of torch and transformers")
    assert {row.phase: row.replayed_bytes for row in found} == {p: row.replayed_bytes for p, row in stored.items()}


def test_a_table_survives_being_written_and_its_page_names_the_worst_cell(tmp_path: Path) -> None:
    write_matrix(tmp_path / "again.csv", reversed(ROWS[:12]))
    assert read_matrix(tmp_path / "again.csv") == ROWS[:12]
    whole = summarize("all", [row for row in ROWS if row.form not in BOUNDS])
    assert whole is not None
    page = "\n".join(render_matrix(ROWS, []))
    assert f"| all | {whole.models} | {whole.rows} |" in page
    assert f"{whole.worst_row.case.model}, " in page

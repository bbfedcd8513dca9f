"""The table of training forms against replays: every form is in it, within limits, current; a sample runs again."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import pytest

from gpufit.accuracy.matrix import Case, MatrixRow, read_matrix
from gpufit.facts.read import parse_config
from gpufit.memory.training.forward import FORMS
from gpufit.render.matrix_page import render_training_matrix
from gpufit.replay.closed_forms import training_forms

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from training_matrix import TRAINING_MATRIX, cases, compare, configuration, setup_of, workload_of  # noqa: E402

ROWS = read_matrix(TRAINING_MATRIX)
MEDIAN, WORST = 0.002, 0.02
# The suite without torch answers within a minute: it looks at every third cell, the whole suite at all of them.
EVERY = 1 if find_spec("torch") else 3
SAMPLE = ("qwen3-moe", "opt", "roberta")


def test_the_whole_matrix_is_within_its_limits() -> None:
    distances = {(row.case.key, row.phase): abs(row.difference) for row in ROWS if row.difference is not None}
    assert len(distances) == len(ROWS)
    assert {cell: distance for cell, distance in distances.items() if distance > WORST} == {}
    assert median(distances.values()) <= MEDIAN


def test_every_form_and_every_shrunken_cell_is_in_the_table() -> None:
    assert {row.form for row in ROWS} == set(FORMS)
    assert {row.case for row in ROWS if row.case.size == "shrunken"} == set(cases("shrunken"))


def test_the_forms_of_the_table_are_todays() -> None:
    """Refresh with ``python benchmarks/training_matrix.py`` where a form was changed."""
    stored: dict[Case, dict[str, int | None]] = {}
    for row in ROWS:
        if row.case.size == "shrunken":
            stored.setdefault(row.case, {})[row.phase] = row.closed_form_bytes
    stale = []
    for case, forms in list(stored.items())[::EVERY]:
        architecture = parse_config(configuration(case.size, case.model))
        today = training_forms(architecture, workload_of(case), setup_of(case))
        stale += [
            (case.key, phase, form, today.get(phase)) for phase, form in forms.items() if form != today.get(phase)
        ]
    assert stale == []


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", SAMPLE)
def test_a_sample_replays_as_the_table_says(model: str) -> None:
    pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
    pytest.importorskip("peft", reason="adapters come from peft")
    first = next(row.case for row in ROWS if row.case.model == model and row.case.work == "lora")
    stored: dict[str, MatrixRow] = {row.phase: row for row in ROWS if row.case == first}
    found, reason = compare(first)
    assert not reason
    if (found[0].torch, found[0].transformers) != (ROWS[0].torch, ROWS[0].transformers):
        pytest.skip("the table was made with other versions of torch and transformers")
    assert {row.phase: row.replayed_bytes for row in found} == {p: row.replayed_bytes for p, row in stored.items()}


def test_the_page_names_every_form() -> None:
    page = "\n".join(render_training_matrix(ROWS))
    assert all(f"| {form} | " in page for form in FORMS)
    assert render_training_matrix([]) == []

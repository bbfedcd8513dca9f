"""Writes docs/accuracy.md and docs/accuracy.svg. ``python docs/accuracy_page.py``; a test fails where they are old."""

from __future__ import annotations

from pathlib import Path

from gpufit.accuracy.matrix import read_matrix, read_missing
from gpufit.accuracy.processor import read_processor_runs
from gpufit.accuracy.published import CITATIONS, TABLE, TRAINING_CITATIONS, TRAINING_TABLE
from gpufit.accuracy.validate import Validation
from gpufit.api import validate
from gpufit.render.matrix_page import render_matrix, render_training_matrix
from gpufit.render.processor_page import render_processor
from gpufit.render.training_page import render_training
from gpufit.render.validate_page import render_page
from gpufit.render.validate_svg import render_plot

DOCS = Path(__file__).parent


def pages(validation: Validation, trained: Validation) -> dict[Path, str]:
    """The files and what should stand in them, from the validations of the two published tables."""
    matrix = render_matrix(read_matrix(DOCS / "replay_matrix.csv"), read_missing(DOCS / "not_replayed.csv"))
    steps = render_training_matrix(read_matrix(DOCS / "training_matrix.csv"))
    runs = render_processor(read_processor_runs(DOCS / "measured_cpu.csv"))
    training = render_training(trained, TRAINING_CITATIONS)
    return {
        DOCS / "accuracy.md": render_page(
            validation, CITATIONS, plot="accuracy.svg", training=training, matrix=[*matrix, *steps, *runs]
        ),
        DOCS / "accuracy.svg": render_plot(validation),
    }


if __name__ == "__main__":
    found = pages(validate(TABLE, environ={}), validate(TRAINING_TABLE, environ={}))
    for path, text in found.items():
        path.write_text(text, encoding="utf-8")

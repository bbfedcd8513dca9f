"""Answers are kept while every input is the same, and never believed otherwise."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gpufit.api import list_models
from gpufit.sources import answers
from gpufit.sources.answers import MOST_ANSWERS, file_stamp, recall


def test_the_same_question_is_answered_once_and_another_one_anew(tmp_path: Path) -> None:
    asked: list[int] = []

    def answer() -> list[int]:
        asked.append(1)
        return [len(asked)]

    assert recall(["a", 1], answer, tmp_path) == [1]
    assert recall(["a", 1], answer, tmp_path) == [1]
    assert recall(["a", 2], answer, tmp_path) == [2]
    assert len(asked) == 2


@pytest.mark.parametrize("content", [b"", b"{", b'["another question", [7]]', b"[" * 100_000, b"\xff\xfe"])
def test_a_broken_or_foreign_answer_is_made_again(tmp_path: Path, content: bytes) -> None:
    recall(["q"], lambda: 5, tmp_path)
    (kept,) = (tmp_path / "answers").glob("*.json")
    kept.write_bytes(content)
    assert recall(["q"], lambda: 6, tmp_path) == 6


def test_changed_code_makes_old_answers_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recall(["q"], lambda: 5, tmp_path) == 5
    monkeypatch.setattr(answers, "_code_time_ns", lambda: 1)
    assert recall(["q"], lambda: 6, tmp_path) == 6


def test_old_answers_are_dropped_and_a_missing_place_costs_nothing(tmp_path: Path) -> None:
    for number in range(MOST_ANSWERS + 5):
        recall([number], lambda: 0, tmp_path)
    assert len(list((tmp_path / "answers").iterdir())) <= MOST_ANSWERS
    assert recall(["q"], lambda: (1, 2), None) == [1, 2]
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert recall(["q"], lambda: 3, blocked) == 3


def test_a_files_stamp_changes_with_its_content_and_its_absence(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    absent = file_stamp(path)
    path.write_text("a")
    first = file_stamp(path)
    path.write_text("ab")
    assert len({json.dumps(stamp) for stamp in (absent, first, file_stamp(path))}) == 3


def test_a_list_from_the_cache_is_the_list_that_was_made(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    rows = [list_models(fits=True, vram="6GB", environ=environ) for _ in range(2)]
    again = list_models(fits=True, vram="6GB", environ={**environ, "XDG_CACHE_HOME": "relative", "HOME": "relative"})
    assert len(rows[0]) > 20
    for one, two, three in zip(rows[0], rows[1], again, strict=True):
        assert one.option == two.option == three.option
        assert one.entry.name == two.entry.name == three.entry.name
        assert one.longest_context_tokens == two.longest_context_tokens == three.longest_context_tokens


def test_what_the_list_says_fits_check_says_fits(tmp_path: Path) -> None:
    import gpufit

    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    for row in list_models(fits=True, vram="6GB", environ=environ)[::9]:
        option = row.option
        assert option is not None
        found = gpufit.check(
            row.entry.name, vram="6GB", dtype=option.workload.dtype, quant=option.workload.quant, environ=environ
        )
        assert found.verdict == option.verdict, row.entry.name
        assert found.asked.process == option.process, row.entry.name
        assert found.longest_context_tokens == row.longest_context_tokens, row.entry.name

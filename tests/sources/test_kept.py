"""Results are kept while everything they were made from is the same, and never believed otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpufit.sources import kept
from gpufit.sources.kept import MOST_KEPT, Kept, file_stamp


def test_a_result_is_read_for_the_same_inputs_alone(tmp_path: Path) -> None:
    Kept(["a", 1], tmp_path).write({"x": [1, 2]})
    assert Kept(["a", 1], tmp_path).read() == {"x": [1, 2]}
    assert Kept(["a", 2], tmp_path).read() is None


@pytest.mark.parametrize("content", [b"", b"{", b'["another question", [7]]', b"[" * 100_000, b"\xff\xfe"])
def test_a_broken_or_foreign_file_is_not_believed_and_written_anew(tmp_path: Path, content: bytes) -> None:
    Kept(["q"], tmp_path).write(5)
    (file,) = (tmp_path / "kept").glob("*.json")
    file.write_bytes(content)
    assert Kept(["q"], tmp_path).read() is None
    Kept(["q"], tmp_path).write(6)
    assert Kept(["q"], tmp_path).read() == 6


def test_changed_code_makes_old_results_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kept(["q"], tmp_path).write(5)
    monkeypatch.setattr(kept, "_code_time_ns", lambda: 1)
    assert Kept(["q"], tmp_path).read() is None


def test_old_results_are_dropped_and_a_missing_place_costs_nothing(tmp_path: Path) -> None:
    for number in range(MOST_KEPT + 5):
        Kept([number], tmp_path).write(0)
    assert len(list((tmp_path / "kept").iterdir())) <= MOST_KEPT
    blocked = tmp_path / "file"
    blocked.write_text("")
    for place in (None, blocked):
        Kept(["q"], place).write(3)
        assert Kept(["q"], place).read() is None


def test_a_files_stamp_changes_with_its_content_and_its_absence(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    absent = file_stamp(path)
    path.write_text("a")
    first = file_stamp(path)
    path.write_text("ab")
    assert len({json.dumps(stamp) for stamp in (absent, first, file_stamp(path))}) == 3

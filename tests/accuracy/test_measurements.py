"""Reading measurement files: hostile rows are kept with a reason, hostile files are refused whole."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.accuracy.measurements import LARGEST_FILE_BYTES, parse_measurements, read_measurements
from gpufit.errors import BadFile

HEAD = "id,architecture,metric,measured_bytes,batch,prompt_tokens,new_tokens,unheard_of\n"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,gpt2,weights_only,-5,1,1,1,x", "measured_bytes is '-5', not a whole number"),
        ("a,gpt2,weights_only,0,1,1,1,x", "measured_bytes is 0, not from 1 to 2^62"),
        ("a,gpt2,weights_only,,1,1,1,x", "measured_bytes is empty"),
        ("a,gpt2,weights_only,1e9,1,1,1,x", "measured_bytes is '1e9', not a whole number"),
        ("a,gpt2,weights_only,9,0,1,1,x", "batch is 0, not from 1 to 2^62"),
        (
            "a,gpt2,weights_only,9,1,99999999999999999999,1,x",
            "prompt_tokens is '99999999999999999999', not a whole number",
        ),
    ],
)
def test_a_wrong_number_is_the_rows_own_problem(row: str, problem: str) -> None:
    found = parse_measurements(HEAD + row + "\n" + "b,gpt2,weights_only,7,1,1,1,y\n")
    assert [r.problem for r in found] == [problem, ""]


def test_a_short_row_and_unknown_columns_are_tolerated() -> None:
    (row,) = parse_measurements(HEAD + "a,gpt2,weights_only,7\n")
    assert (row.measured_bytes, row.batch, row.problem) == (7, None, "")


def test_control_characters_never_reach_the_terminal() -> None:
    (row,) = parse_measurements(HEAD + "a,gpt2,\x1b[31mred,7,,,,\n")
    assert row.metric == "?[31mred"


def test_a_file_without_the_needed_columns_is_refused_by_their_names() -> None:
    with pytest.raises(BadFile, match="has no column architecture, metric, measured_bytes"):
        parse_measurements("a,b\n1,2\n")


def test_files_that_are_too_large_binary_or_absent_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    large.write_bytes(b"x" * (LARGEST_FILE_BYTES + 1))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in (
        (large, "larger than 16 MiB"),
        (binary, "not UTF-8"),
        (tmp_path / "none", "cannot read"),
    ):
        with pytest.raises(BadFile, match=words):
            read_measurements(path)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_is_rows_or_one_plain_error(text: str) -> None:
    with suppress(BadFile):
        assert all(row.problem or row.measured_bytes for row in parse_measurements(HEAD + text))

"""The strict YAML door: plain data with lines, and one BadCatalog for every way a file can be wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufit.errors import BadCatalog
from gpufit.sources.strict_yaml import parse_yaml


def test_plain_data_comes_back_with_the_line_of_every_key() -> None:
    data, lines = parse_yaml(b"# a comment\ngpus:\n  t4:\n    mib: 15360\n    aliases: [tesla-t4]\n", "g.yaml")
    assert data == {"gpus": {"t4": {"mib": 15360, "aliases": ["tesla-t4"]}}}
    assert lines == {("gpus",): 2, ("gpus", "t4"): 3, ("gpus", "t4", "mib"): 4, ("gpus", "t4", "aliases"): 5}


def test_list_items_have_lines_too() -> None:
    _, lines = parse_yaml(b"- a\n-\n  name: b\n", "g.yaml")
    assert lines == {(0,): 1, (1,): 3, (1, "name"): 3}


def test_scalars_are_null_bool_int_float_and_text() -> None:
    data, _ = parse_yaml(b"{a: ~, b: true, c: 3, d: 2.5, e: text}", "g.yaml")
    assert data == {"a": None, "b": True, "c": 3, "d": 2.5, "e": "text"}


def test_an_empty_file_is_none() -> None:
    assert parse_yaml(b"", "g.yaml") == (None, {})


BOMB = b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (b"a: 1\nb: 2\na: 3\n", 3, "'a' appears twice (first on line 1)"),
        (b"x:\n  y: {z: {w: {v: 1,\n v: 2}}}\n", 3, "'v' appears twice"),
        (BOMB, 1, "anchors and aliases"),
        (b"a: 1\nb: *nowhere\n", 2, "anchors and aliases"),
        (b"a:\n  <<: {b: 1}\n", 2, "a key must be text"),
        (b"4090: {mib: 1}\n", 1, "a key must be text"),
        (b"? [a, b]\n: 1\n", 1, "a key must be text"),
        (b"a: 1\nb: 2001-12-14\n", 2, "!!timestamp is not allowed"),
        (b"a: !!python/object/apply:os.system [id]\n", 1, "!!python/object/apply:os.system is not allowed"),
        (b"a: !own x\n", 1, "tag !own is not allowed"),
        (b"a: !!int many\n", 1, "'many' is not !!int"),
        (b"a: " + b"9" * 5000, 1, "a number of 5000 characters"),
        (b"a: 1\nb: [1,\n", 3, "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", 2, "not valid YAML"),
        (b"a: 1\nb: \xff\xfe\n", 2, "not UTF-8"),
        (b"a: \x00", 0, "not valid YAML"),
        (b"\ta: 1", 1, "not valid YAML"),
        (b"[" * 33 + b"]" * 33, 1, "nested deeper than 32"),
    ],
)
def test_a_bad_file_is_named_with_its_line(text: bytes, line: int, says: str) -> None:
    with pytest.raises(BadCatalog) as caught:
        parse_yaml(text, "mine.yaml")
    assert says in caught.value.message
    assert caught.value.line == line
    assert caught.value.message.startswith("mine.yaml")


def test_a_hundred_thousand_brackets_are_refused_and_do_not_crash() -> None:
    with pytest.raises(BadCatalog):
        parse_yaml(b"[" * 100_000, "deep.yaml")


@given(st.binary(max_size=300) | st.text("ab:[]{}&*!-#'\" \n\t>|?,1", max_size=200).map(str.encode))
def test_any_bytes_give_data_or_bad_catalog(noise: bytes) -> None:
    try:
        _, lines = parse_yaml(noise, "noise.yaml")
    except BadCatalog:
        return
    assert all(line >= 1 for line in lines.values())

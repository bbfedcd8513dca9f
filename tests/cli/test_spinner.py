"""The line that says what is waited for: on a terminal alone, and gone when the answer comes."""

from __future__ import annotations

import io
from typing import TextIO

import pytest

from gpufit.cli.spinner import Spinner


class Terminal(io.TextIOWrapper):
    """A text stream that says it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)  # type: ignore[attr-defined, no-any-return]


def test_what_is_waited_for_is_shown_and_then_erased() -> None:
    terminal = Terminal()
    with Spinner(terminal) as say:
        assert say is not None
        say("asking for ada/tiny")
        say("reading header 1 of 2 of ada/tiny")
    assert "ada/tiny" in terminal.shown()
    assert terminal.shown().endswith("\r\x1b[2K")


def test_it_is_erased_when_the_answer_is_an_error() -> None:
    terminal = Terminal()

    def ask() -> None:
        with Spinner(terminal) as say:
            assert say is not None
            say("asking")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ask()
    assert terminal.shown().endswith("\r\x1b[2K")


def test_nothing_is_drawn_before_there_is_something_to_wait_for() -> None:
    terminal = Terminal()
    with Spinner(terminal):
        pass
    assert terminal.shown() == ""


@pytest.mark.parametrize(("stream", "kind"), [(io.StringIO(), None), (Terminal(), "dumb")])
def test_where_nobody_sees_it_there_is_none(stream: TextIO, kind: str | None) -> None:
    with Spinner(stream, terminal=kind) as say:
        assert say is None


def test_a_terminal_without_these_signs_gets_plain_ones() -> None:
    terminal = Terminal("ascii")
    with Spinner(terminal) as say:
        assert say is not None
        say("asking for ada/tïny")
    assert "| asking for ada/t?ny" in terminal.shown()

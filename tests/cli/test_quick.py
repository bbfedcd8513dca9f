"""The quick lane and typer read every call alike, or the quick lane leaves it to typer."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.cli.app import CommandLineError, LazyGroup
from gpufit.cli.quick import _WHOLE_NUMBERS, command_module, quick_call

CHECK_WORDS = [
    "gpt2", "llama-2-7b", "--vram", "16", "--vram=16GB", "--gpu", "t4", "--context", "1024", "--context=12", "--batch",
    "4", "--json", "--strict", "--code", "--quant", "bnb-nf4", "--kv-dtype", "fp8", "--new-tokens", "-5", "--nonsense",
    "--json=1", "", "-", "--", "1e3", "٣", "--reserve", "1GiB", "--runtime", "transformers", "-h",
]  # fmt: skip


def through_typer(command: str, words: list[str]) -> dict[str, Any] | None:
    """The values that typer would pass; None when it refuses or shows help."""
    built = LazyGroup(name="gpufit").get_command(None, command)
    try:
        context = built.make_context(command, list(words))
    except (CommandLineError, typer.Exit, SystemExit):
        return None
    return dict(context.params)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(CHECK_WORDS), max_size=7))
def test_what_the_quick_lane_takes_typer_reads_the_same(words: list[str]) -> None:
    found = quick_call(["check", *words], {})
    if found is None:
        return
    run, values = found
    expected = through_typer("check", words)
    assert expected is not None
    names = run.__code__.co_varnames[: run.__code__.co_argcount]
    defaults = dict(zip(reversed(names), reversed(run.__defaults__ or ()), strict=False))
    assert {**defaults, **values} == expected


@pytest.mark.parametrize(
    "words",
    [
        ["check", "gpt2", "--vram", "16"],
        ["check", "--gpu=t4", "gpt2", "--context", "512", "--json", "--strict"],
        ["list", "--fits", "--vram", "16", "--family", "t5", "--sort", "name"],
        ["list"],
    ],
    ids=" ".join,
)
def test_plain_calls_take_the_quick_lane(words: list[str]) -> None:
    assert quick_call(words, {}) is not None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["check"],
        ["check", "--help"],
        ["check", "a", "b"],
        ["check", "a", "--vram"],
        ["gpus"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_everything_else_goes_to_typer(words: list[str]) -> None:
    assert quick_call(words, {}) is None


def test_shell_completion_goes_to_typer() -> None:
    assert quick_call(["check", "gpt2"], {"_GPUFIT_COMPLETE": "complete_bash"}) is None


@pytest.mark.parametrize("command", ["check", "list"])
def test_the_quick_lane_knows_which_options_are_whole_numbers(command: str) -> None:
    built = LazyGroup(name="gpufit").get_command(None, command)
    integers = {p.name for p in built.params if "int" in type(p.type).__name__.lower() or "int" in str(p.type).lower()}
    names = command_module(command).run.__code__.co_varnames
    assert integers == {name for name in _WHOLE_NUMBERS if name in names}

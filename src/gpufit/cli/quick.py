"""The quick lane: well-formed ``check`` and ``list`` calls, parsed without loading a command-line library.

Importing typer takes longer than the whole answer. Calls that read plainly (known options, values in place, numbers
where numbers belong) are served here; anything else, help and every mistake included, goes to typer, which says what is
wrong. A test holds both parsers to the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

COMMANDS = {  # each with the line that the list of commands shows, so that none is imported for it
    "check": "Does a model fit, why, and what makes it fit? Training too.",
    "list": "The catalog, or what of it fits a GPU.",
    "gpus": "Every GPU: memory, load, formats, and who holds memory.",
    "explain": "Where every number comes from.",
    "replay": "The real modelling code without weights or GPU.",
    "measure": "The real model on the real device, beside the estimate.",
    "validate": "Hold the estimates against measurements.",
    "catalog": "Add to your catalog, check a file, compare an entry.",
    "doctor": "What is found on this machine, for a bug report.",
}
MODULES = {"list": "list_models"}  # where a command's module cannot carry its name
_QUICK = ("check", "list")
_WHOLE_NUMBERS = frozenset(
    {"context", "prompt", "new_tokens", "batch", "images", "micro_batch", "seq", "grad_accum", "lora_r"}
)
_FLAG_OF = {"as_json": "--json"}


def command_module(name: str) -> Any:
    """The module that serves a subcommand."""
    return import_module(f"gpufit.cli.{MODULES.get(name, name)}")


def quick_call(
    arguments: Sequence[str], environ: Mapping[str, str]
) -> tuple[Callable[..., int], dict[str, Any]] | None:
    """The function to call and its arguments; None when typer has to look at this."""
    if not arguments or arguments[0] not in _QUICK or "_GPUFIT_COMPLETE" in environ:
        return None
    run: Callable[..., int] = command_module(arguments[0]).run
    values = _parse(run, arguments[1:])
    return None if values is None else (run, values)


def _parse(run: Any, words: Sequence[str]) -> dict[str, Any] | None:
    names = run.__code__.co_varnames[: run.__code__.co_argcount]
    defaults = dict(zip(reversed(names), reversed(run.__defaults__ or ()), strict=False))
    by_flag = {_FLAG_OF.get(name, "--" + name.replace("_", "-")): name for name in defaults}
    free = [name for name in names if name not in defaults]
    values: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            if not free:
                return None
            values[free.pop(0)] = word
            continue
        flag, equals, value = word.partition("=")
        name = by_flag.get(flag)
        if name is None:
            return None
        if defaults[name] is False:
            if equals:
                return None
            values[name] = True
            continue
        text = value if equals else next(rest, "-")
        if text.startswith("-") or not text:
            return None
        if name in _WHOLE_NUMBERS:
            if not (text.isascii() and text.isdigit() and len(text) < 16):
                return None
            values[name] = int(text)
        else:
            values[name] = text
    return None if free else values

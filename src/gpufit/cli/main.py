"""The command ``gpufit``: the one place where failures become text and exit codes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from gpufit.cli.quick import COMMANDS, quick_call
from gpufit.errors import GpufitError

__all__ = ["COMMANDS", "main", "script"]
_MISUSE = 2
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; expected failures are one sentence and a hint, never a traceback."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # started with standard output closed
        return _MISUSE
    try:
        quick = quick_call(args, os.environ)
        code = _through_typer(args) if quick is None else quick[0](**quick[1])
        sys.stdout.flush()
    except GpufitError as error:
        return _report(error.message, error.hint, error.code, error.exit_code, args)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # the reader went away (``gpufit list | head``); keep the interpreter from flushing into the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # the disk is full, say; files that are read have errors of their own
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the interpreter ends
        sys.stderr.write(f"gpufit: cannot write the answer: {error.strerror or error}\n")
        return _MISUSE
    return code


def _through_typer(args: list[str]) -> int:
    from gpufit.cli.app import Abort, CommandLineError, call

    try:
        code = call(args)
    except CommandLineError as error:
        if not args:  # no command at all: typer has shown the help
            return _MISUSE
        known = args[0] in COMMANDS
        hint = f"gpufit {args[0]} --help shows its options" if known else "gpufit --help shows the commands"
        return _report(error.format_message(), hint, "usage", _MISUSE, args)
    except Abort:
        return _INTERRUPTED
    return code if isinstance(code, int) else 0


def _report(message: str, hint: str, code: str, exit_code: int, args: Sequence[str]) -> int:
    if "--json" in args:
        import json

        error = {"code": code, "message": message, "hint": hint}
        sys.stdout.write(json.dumps({"schema": 1, "ok": False, "error": error}, indent=2) + "\n")
    else:
        sys.stderr.write(f"gpufit: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    return exit_code


def script() -> None:
    """The console script."""
    code = main()
    gc.freeze()  # the collector's walk at the interpreter's end takes a second where torch was imported, for nothing
    sys.exit(code)

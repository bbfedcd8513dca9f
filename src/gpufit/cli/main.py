"""The command ``gpufit``: finds the subcommand, and is the one place where failures become text and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gpufit.errors import GpufitError

COMMANDS = ("check", "list", "gpus")
_MODULES = {"list": "list_models"}  # where a command's module cannot carry its name
# typer bundles click or imports it, depending on its version; this is the base of its errors either way
_CommandLineError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
_MISUSE = 2


class LazyGroup(TyperGroup):
    """Subcommands are imported when they are named, so that each start pays for one of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"gpufit.cli.{_MODULES.get(cmd_name, cmd_name)}")
        single = typer.Typer(rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
        single.command(cmd_name, help=module.run.__doc__)(module.run)
        return get_command(single)


def _show_version(wanted: bool) -> None:
    if wanted:
        from gpufit import __version__

        typer.echo(f"gpufit {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


@app.callback()
def gpufit(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Says whether a model fits on your GPU before you download it, why, and what makes it fit.

    Exit codes: 0 fits, 1 does not fit, 2 wrong use or failure, 3 cannot tell, 4 needs a token or a licence.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; expected failures are one sentence and a hint, never a traceback."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = get_command(app).main(args, prog_name="gpufit", standalone_mode=False)
        sys.stdout.flush()
    except GpufitError as error:
        return _report(error.message, error.hint, error.code, error.exit_code, args)
    except _CommandLineError as error:
        if not args:  # no command at all: typer has shown the help
            return _MISUSE
        return _report(error.format_message(), "gpufit --help shows the commands", "usage", _MISUSE, args)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # the reader went away (``gpufit list | head``); keep the interpreter from flushing into the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    sys.exit(main())

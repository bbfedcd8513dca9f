"""The typer application: every subcommand with its options and its help."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gpufit.cli import options
from gpufit.cli.quick import COMMANDS, command_module

# typer bundles click or imports it, depending on its version; this is the base of its errors either way
CommandLineError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")
Abort = typer.Abort


class LazyGroup(TyperGroup):
    """Subcommands are imported when they are named, so that each start pays for one of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, from their lines alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = command_module(cmd_name)
        if hasattr(module, "app"):
            return get_command(module.app)
        module.options = options  # what the annotations of ``run`` name; they are text until typer asks
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


def call(arguments: list[str]) -> Any:
    """Parse and run; returns what the subcommand returned. Raises CommandLineError and Abort."""
    return get_command(app).main(arguments, prog_name="gpufit", standalone_mode=False)

"""``gpufit catalog add | check | diff``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gpufit.cli import options
from gpufit.cli.output import screen, write_json, write_lines
from gpufit.cli.spinner import Spinner

PROBLEMS = 2
DIFFERS = 1

app = typer.Typer(
    name="catalog", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False,
    help="Add a model to your catalog, check a catalog file, or hold an entry against a config.json.",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

Name = Annotated[str | None, typer.Option(help="What to call it; the last part of MODEL by default.")]
Target = Annotated[Path | None, typer.Option("--file", help="The catalog to extend; your own by default.")]
Stored = Annotated[str | None, typer.Option("--dtype", help="fp32, fp16 or bf16, where the model does not say.")]
File = Annotated[Path, typer.Argument(help="A catalog file.")]
Entry = Annotated[
    str, typer.Argument(help="A model of the catalog, by name or Hub id.", autocompletion=options.complete_model)
]
ConfigFile = Annotated[Path, typer.Argument(help="A config.json, or the folder that holds it.")]


@app.command("add")
def add(
    model: options.Model,
    name: Name = None,
    file: Target = None,
    dtype: Stored = None,
    revision: options.Revision = None,
    via_transformers: options.ViaTransformers = False,
    as_json: options.Json = False,
) -> int:
    """Write an entry for a model into your catalog: the few keys of its configuration that decide what it needs."""
    from gpufit.api import add_to_catalog
    from gpufit.render.catalog import added_to_dict, render_added

    with Spinner(terminal=os.environ.get("TERM")) as progress:
        added = add_to_catalog(
            model, name=name, file=file, dtype=dtype, revision=revision, via_transformers=via_transformers,
            progress=progress,
        )  # fmt: skip
    if as_json:
        write_json(added_to_dict(added))
    else:
        write_lines(render_added(added, screen()))
    return 0


@app.command("check")
def check(file: File, via_transformers: options.ViaTransformers = False, as_json: options.Json = False) -> int:
    """Hold every entry of a catalog file against its own parameter count; exits 2 where one is wrong."""
    from gpufit.api import config_reader
    from gpufit.render.catalog import audit_to_dict, render_audit
    from gpufit.sources.catalog_audit import audit_catalog

    audit = audit_catalog(file, config_reader(via_transformers))
    if as_json:
        write_json(audit_to_dict(audit))
    else:
        write_lines(render_audit(audit, screen()))
    return PROBLEMS if audit.problems else 0


@app.command("diff")
def diff(name: Entry, config: ConfigFile, catalog: options.CatalogFile = None, as_json: options.Json = False) -> int:
    """Hold an entry against a config.json: which keys differ, and do parameters and cache agree; exits 1 if not."""
    from gpufit.api import compare_with_config
    from gpufit.render.catalog import comparison_to_dict, render_comparison

    found = compare_with_config(name, config, catalog=catalog)
    if as_json:
        write_json(comparison_to_dict(found))
    else:
        write_lines(render_comparison(found, screen()))
    return 0 if found.same else DIFFERS

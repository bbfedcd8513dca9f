"""The walls of the house: who may import whom, what stays light, and what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import gpufit

SRC = Path(gpufit.__file__).parent

# room -> rooms it may import; units, errors, records and the version are open to all
ALLOWED = {
    "facts": {"facts"},
    "memory": {"memory", "facts"},
    "devices": {"devices", "sources"},  # the table of GPUs is a data file, read like every other
    "sources": {"sources", "facts"},
    "verdict": {"verdict", "memory", "facts", "devices.device"},
    "replay": {"replay", "memory", "facts"},
    # the same steps as replay's, under meters in place of the tracker; of sources, the names of its own files
    "measure": {"measure", "replay", "memory", "facts", "sources.data_files"},
    # of replay, accuracy takes the simulated allocator alone: pure arithmetic
    "accuracy": {"accuracy", "memory", "facts", "replay.allocator", "replay.blocks"},
    "render": {"render", "verdict", "memory", "facts", "devices", "replay", "accuracy", "measure"},
}
# doors left open on purpose, each inside a function
EXCEPTIONS = {
    "verdict/check.py imports gpufit.render.check_json",  # Check.to_dict() is the record that --json prints
    "replay/__init__.py imports gpufit.api",  # gpufit.replay(...) is both the room and the function
}
OPEN = {"units", "errors", "records", "__about__"}
HEAVY = ("torch", "transformers", "accelerate", "bitsandbytes", "peft")


@cache
def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Every imported module of a file, and whether it is imported when the file is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, id(node) in top))
        elif isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
    return found


def source_files() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def test_no_room_imports_against_the_arrows() -> None:
    wrong = []
    for path in source_files():
        room = path.relative_to(SRC).parts[0]
        if room not in ALLOWED:
            continue
        for module, _ in imports_of(path):
            if not module.startswith("gpufit."):
                continue
            target = module.removeprefix("gpufit.")
            if target.split(".")[0] in OPEN or any(target == a or target.startswith(a + ".") for a in ALLOWED[room]):
                continue
            wrong.append(f"{path.relative_to(SRC)} imports {module}")
    assert set(wrong) - EXCEPTIONS == set()


def test_heavy_libraries_are_imported_inside_functions_of_replay_and_measure_alone() -> None:
    wrong = [
        f"{path.relative_to(SRC)}: {module}"
        for path in source_files()
        for module, at_import in imports_of(path)
        if module.split(".")[0] in HEAVY and (at_import or path.relative_to(SRC).parts[0] not in ("replay", "measure"))
    ]
    assert wrong == []


def test_typer_lives_in_the_cli_alone() -> None:
    users = {path.relative_to(SRC).parts[0] for path in source_files() for m, _ in imports_of(path) if m == "typer"}
    assert users == {"cli"}


def test_raw_configuration_is_read_only_through_its_door() -> None:
    """No ``config.get(...)`` anywhere: the readers of facts/families see typed, bounded values."""
    rooms = ("families", "memory", "verdict", "render")
    offenders = [
        str(path.relative_to(SRC))
        for path in source_files()
        if path.parent.name in rooms and "config.get(" in path.read_text(encoding="utf-8")
    ]
    assert offenders == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "llama-2-7b", "--vram", "16"],
        ["check", "gpt2", "--gpu", "t4", "--json"],
        ["list", "--fits", "--vram", "16"],
        ["list"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_the_quick_path_imports_nothing_heavy(arguments: list[str]) -> None:
    """No torch, no transformers, no HTTP client, and once the catalog is compiled no YAML and no rich either."""
    program = (
        "import sys; from gpufit.cli.main import main; main(sys.argv[1:]); sys.stdout.flush();"
        "print('\\n@', *sorted({m.split('.')[0] for m in sys.modules}), *sorted(m for m in sys.modules if '.' in m))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    loaded = set(done.stdout.rpartition("@")[2].split())
    banned = {*HEAVY, "requests", "httpx", "huggingface_hub", "http.client", "ssl", "yaml", "rich", "numpy", "pydantic"}
    if arguments[0] in ("check", "list"):
        banned |= {"typer", "click", "inspect", "dataclasses"}
    assert loaded & banned == set()


def test_files_stay_short() -> None:
    long = {str(p.relative_to(SRC)): n for p in source_files() if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


def test_the_public_surface_is_what_all_says_sorted() -> None:
    assert gpufit.__all__ == sorted(gpufit.__all__)
    assert all(getattr(gpufit, name) is not None for name in gpufit.__all__)
    assert dir(gpufit) == gpufit.__all__
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        gpufit.chekc  # noqa: B018

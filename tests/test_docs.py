"""The documentation says what the program does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gpufit.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))


def test_sessions_and_tables_are_what_the_program_prints_today(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Refresh with ``python docs/refresh.py`` and read the difference."""
    import refresh

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for path in refresh.documents():
        text = path.read_text(encoding="utf-8")
        assert refresh.refresh(text) == text, path.name


def test_the_readme_holds_at_least_six_sessions_and_the_fourteen_models() -> None:
    import refresh

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"```console\n\$ .*gpufit ", text)) >= 6
    for name in refresh.FIRST_CATALOG:
        assert f"| {name} |" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_word_of_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    options = re.findall(r"^  (?:-\w, )?--[\w-]+.*$", out, flags=re.MULTILINE)
    assert options
    assert all(re.search(r"\s{2,}\S", line.strip()) or line.endswith(">") for line in options)

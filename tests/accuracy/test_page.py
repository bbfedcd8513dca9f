"""docs/accuracy.md is what the program says today."""

from __future__ import annotations

import sys
from pathlib import Path

from gpufit.accuracy.validate import Validation

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))


def test_the_page_and_its_picture_are_current(published: Validation, published_training: Validation) -> None:
    """Refresh with ``python docs/accuracy_page.py`` and read the difference."""
    import accuracy_page

    for path, text in accuracy_page.pages(published, published_training).items():
        assert path.read_text(encoding="utf-8") == text, path.name

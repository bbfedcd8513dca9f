"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Nothing in the suite may ask the network, a real GPU, or the user's own files.
os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "2"})

# A slow moment of the machine is no fault of the code: properties are held without a time limit.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published configurations and measurements beside the repository."""
    folder = ROOT.parent / "shared"
    if not (folder / "configs" / "INDEX.csv").is_file():
        pytest.skip("the reference data lies beside the repository, not in it, and is absent here")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` rewrites the texts in tests/golden, to be looked at and committed."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the texts in tests/golden")

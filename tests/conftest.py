"""What every test may use."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Nothing in the suite may ask the network, a real GPU, or the user's own files.
os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "OMP_NUM_THREADS": "2"})
# The cache is one for the run, empty at its start; the workers of pytest-xdist inherit it.
STARTED_HERE = "PYTEST_XDIST_WORKER" not in os.environ
if STARTED_HERE:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="gpufit-tests-")
# pytest-xdist tells its workers a width, and a width that is told is kept to, piped or not.
os.environ.pop("COLUMNS", None)

# The commands that tests start by the dozen, and the workers, compile each module once, not each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

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


@pytest.fixture(scope="session")
def follows_schema() -> Callable[[object], None]:
    """Raises jsonschema.ValidationError for what ``--json`` must not print. The schema itself is checked once."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads((ROOT / "schema" / "gpufit.schema.json").read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    check: Callable[[object], None] = kind(schema).validate
    return check


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` rewrites the texts in tests/golden, to be looked at and committed."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the texts in tests/golden")


def pytest_unconfigure() -> None:
    """The run's cache goes with the run."""
    if STARTED_HERE:
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)

"""The two published tables are held against today's estimates once; several tests look at the answer."""

from __future__ import annotations

import pytest

from gpufit.accuracy.published import TABLE, TRAINING_TABLE
from gpufit.accuracy.validate import Validation
from gpufit.api import validate


@pytest.fixture(scope="session")
def published() -> Validation:
    """The project's table of inference."""
    return validate(TABLE, environ={})


@pytest.fixture(scope="session")
def published_training() -> Validation:
    """The project's table of training."""
    return validate(TRAINING_TABLE, environ={})

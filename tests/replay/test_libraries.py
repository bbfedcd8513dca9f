"""The libraries are imported once and stay out of the collector's walks only while a replay runs."""

from __future__ import annotations

import gc

import pytest

pytest.importorskip("transformers", reason="a replay runs the real modelling code and needs transformers")

from gpufit.replay.libraries import imported_libraries

pytestmark = pytest.mark.real


def test_the_collector_gets_everything_back_even_after_a_failure() -> None:
    def fail() -> None:
        with imported_libraries():
            assert gc.get_freeze_count() > 100_000  # both libraries' objects
            assert gc.isenabled()  # what the run makes is collected as ever
            raise LookupError("the run failed")

    with pytest.raises(LookupError, match="the run failed"):
        fail()
    assert gc.get_freeze_count() == 0


def test_what_a_process_has_set_aside_itself_stays_aside() -> None:
    gc.freeze()
    try:
        with imported_libraries():
            kept = gc.get_freeze_count()
        assert gc.get_freeze_count() == kept > 0
    finally:
        gc.unfreeze()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with imported_libraries():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()

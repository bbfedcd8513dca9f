"""Records behave as frozen, slotted, keyword-only dataclasses do."""

from __future__ import annotations

import copy
import pickle

import pytest

from gpufit.memory.ranges import Range
from gpufit.memory.workload import Workload
from gpufit.records import as_dict, derived, record, replace


@record
class Box:
    """Two sides, and the area that follows from them."""

    width: int
    height: int = 2
    area: int = derived()

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", self.width * self.height)


@record(eq=False)
class Thing:
    """Compared by identity."""

    name: str


def test_fields_are_passed_by_keyword_with_defaults_and_derived_ones_computed() -> None:
    assert (Box(width=3).height, Box(width=3).area) == (2, 6)
    with pytest.raises(TypeError):
        Box(3)  # type: ignore[misc]
    with pytest.raises(TypeError):
        Box(width=3, area=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Box(height=1)  # type: ignore[call-arg]


def test_nothing_can_be_set_added_or_deleted() -> None:
    box = Box(width=1)
    with pytest.raises(AttributeError, match="frozen"):
        box.width = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        box.depth = 2  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="frozen"):
        del box.width


def test_records_compare_and_hash_by_value_unless_told_otherwise() -> None:
    assert Box(width=1) == Box(width=1, height=2)
    assert hash(Box(width=1)) == hash(Box(width=1))
    assert Box(width=1) != Range(1, 2, 3)
    assert Thing(name="a") != Thing(name="a")


def test_replace_copies_and_recomputes() -> None:
    assert replace(Box(width=2), height=5).area == 10
    assert replace(Workload(prompt_tokens=4), batch=3) == Workload(prompt_tokens=4, batch=3)


def test_records_can_be_copied_pickled_shown_and_turned_into_dictionaries() -> None:
    box = Box(width=2)
    assert copy.copy(box) == box == copy.deepcopy(box)
    assert pickle.loads(pickle.dumps(Range(1, 2, 3))) == Range(1, 2, 3)  # noqa: S301 - our own bytes
    assert repr(box) == "Box(width=2, height=2)"
    assert as_dict(Range(1, 2, 3)) == {"low_bytes": 1, "likely_bytes": 2, "high_bytes": 3}

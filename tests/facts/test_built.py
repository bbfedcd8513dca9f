"""Folding told tensors into groups: nothing is lost, nothing is counted twice."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from gpufit.facts.built import boxes


@given(st.integers(0, 3).flatmap(lambda depth: st.sets(st.tuples(*[st.integers(0, 4)] * depth), min_size=1)))
def test_boxes_hold_every_index_once(indices: set[tuple[int, ...]]) -> None:
    found = [index for box in boxes(indices) for index in product(*box)]
    assert sorted(found) == sorted(indices)


def test_sixty_layers_of_experts_are_one_box() -> None:
    everything = [(layer, expert) for layer in range(60) for expert in range(8)]
    assert boxes(everything) == [(tuple(range(60)), tuple(range(8)))]

"""Following a calculation gives what the calculation gives, everywhere in the range that is claimed."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from math import ceil, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.api import load_catalog
from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.memory.curve import Curve
from gpufit.memory.solve import context_curve
from gpufit.memory.traced import Untraceable, follow, reach
from gpufit.memory.workload import Workload
from gpufit.records import replace

Calculation = Callable[[int], list[int]]
TOP = 90


def calculation(a: int, b: int, c: int, d: int) -> Calculation:
    """Every way of arithmetic that the formulas use, with kinks, steps and alignments in odd places."""

    def calculate(n: int) -> list[int]:
        window = min(n, a + 1)
        chunks = -(-n // (b % 7 + 1))
        bent = n * n * (c % 3) + d * n if n >= c + 3 else max(a * n, 5 * b)
        aligned = 11 if n % (d % 8 + 1) else 0
        return [window * 3 + bent + aligned, (chunks + 1) ** 2 + (7 * n + a) // 2 - (b - n), sum([n, a, b]) if n else 0]

    return calculate


calculations = st.builds(calculation, *[st.integers(0, 40)] * 4)


@settings(max_examples=300)
@given(st.integers(0, 80), st.integers(-99, 20), st.integers(-3, 3), st.integers(0, 50))
def test_reach_is_the_last_step_before_the_first_negative_one(a: int, b: int, c: int, end: int) -> None:
    first = next((t for t in range(end + 1) if a + b * t + c * t * t < 0), end + 1)
    assert reach(a, b, c, end) == first - 1


@given(calculations, st.integers(1, TOP), st.integers(1, 9))
def test_what_was_followed_holds_in_its_whole_range(calculate: Calculation, n: int, stride: int) -> None:
    found = follow(calculate, n, first=1, last=TOP, stride=stride)
    assert 1 <= found.first <= n <= found.last <= TOP
    for t, other in enumerate(range(found.first, found.last + 1, stride)):
        assert [figure.at(t) for figure in found.figures] == calculate(other), other


@given(calculations, st.lists(st.integers(1, TOP), min_size=1, max_size=9))
def test_a_curve_gives_what_the_calculation_gives_and_so_does_one_that_was_kept(
    calculate: Calculation, asked: list[int]
) -> None:
    curve = Curve(calculate, TOP)
    for n in asked:
        assert list(curve.at(n)) == calculate(n)
    kept = Curve(_never, TOP, kept=curve.to_plain())
    assert [list(kept.at(n)) for n in asked] == [calculate(n) for n in asked]
    assert not kept.grown


def _never(n: int) -> list[int]:
    raise AssertionError("what is kept needs no calculation")


@settings(max_examples=200)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 8), st.integers(1, TOP), st.integers(0, 1500))
def test_the_longest_input_is_where_the_first_one_from_the_start_on_is_over(
    a: int, b: int, alignment: int, start: int, budget: int
) -> None:
    def calculate(n: int) -> list[int]:
        return [a * n + (80 if n % alignment else 0) + max(0, b - n) * 30, 5 * min(n, b)]

    def fits(n: int) -> bool:
        return max(calculate(n)) <= budget

    found = Curve(calculate, TOP, (0, 1)).longest(start, budget)
    if fits(start):
        assert found == next((n for n in range(start, TOP + 1) if not fits(n)), TOP + 1) - 1
    else:
        assert found < start
        assert fits(found) if found else not fits(1)
        assert not fits(found + 1)


UNFOLLOWED: tuple[Callable[[int], Any], ...] = (
    lambda n: n**3, lambda n: n * n * n, lambda n: n / 2, lambda n: 2 / n, lambda n: 90 // n, lambda n: n // -2,
    lambda n: n * 1.5, lambda n: n + 0.5, lambda n: n > 2.5, lambda n: n == 2.0, lambda n: 2**n, lambda n: n << 1,
    lambda n: n & 1, lambda n: abs(n), lambda n: int(n), lambda n: float(n), lambda n: round(n), lambda n: divmod(n, 2),
    lambda n: len(range(n)), lambda n: ceil(n), lambda n: sqrt(n), lambda n: n.bit_length(), lambda n: n.real,
    lambda n: {n: 1}, lambda n: str(n), lambda n: f"{n:,}", lambda n: f"{n}", lambda n: "x" * n,
)  # fmt: skip


@pytest.mark.parametrize("calculate", UNFOLLOWED)
def test_what_cannot_be_followed_is_refused(calculate: Callable[[int], Any]) -> None:
    calculate(5)
    with pytest.raises(Untraceable):
        follow(lambda n: [calculate(n)], 5, first=1, last=9)


def test_what_cannot_be_followed_is_searched() -> None:
    def calculate(n: int) -> list[int]:
        return [n.bit_length() * 100 + n if n > 20 else n]  # followed below, not above

    for start in (1, 7, 21, 22, 50, TOP):
        for budget in (0, 5, 19, 20, 520, 521, 563, 564, 690, 99_999):
            fits = [n for n in range(1, TOP + 1) if calculate(n)[0] <= budget]
            curve = Curve(calculate, TOP)
            assert curve.longest(start, budget) == max((n for n in fits if n <= start or start in fits), default=0)
            assert curve.at(start) == tuple(calculate(start))


@cache
def one_of_each_form() -> dict[str, Architecture]:
    return {a.form: a for entry in load_catalog(None, os.environ).entries for a in (entry.architecture(),)}


@pytest.mark.parametrize(("capability", "attention"), [(None, "sdpa"), ((7, 5), "sdpa"), ((8, 9), "eager")])
def test_every_form_is_followed_exactly(capability: tuple[int, int] | None, attention: str) -> None:
    for number, (form, architecture) in enumerate(one_of_each_form().items()):
        for index, quant in enumerate(("none", "bnb-int8", "bnb-nf4", "awq-int4-g128")):
            if (number + index + (capability is None)) % 2:  # each kind of card takes its turn at every other pair
                continue
            work = Workload(
                prompt_tokens=100 + 97 * index, new_tokens=index, batch=1 + index % 3, quant=quant,  # type: ignore[arg-type]
                compute_capability=capability, attention=attention,  # type: ignore[arg-type]
            )  # fmt: skip
            top = min(architecture.max_context_tokens or 5000, 5000)
            fresh = context_curve(lambda known=architecture: known, work, top=top, devices=1 + index % 2)  # type: ignore[misc]
            try:
                figures = fresh.at(min(work.context_tokens, top))
            except Unsupported:
                continue
            fresh.longest(min(work.context_tokens, top), figures[2] * 2)  # follows some more of it
            kept = context_curve(_no_facts, work, top=top, kept=fresh.to_plain())
            plain = context_curve(lambda known=architecture: known, work, top=top, devices=1 + index % 2)  # type: ignore[misc]
            for piece in kept._pieces:
                for n in {piece.first, piece.last, (piece.first + piece.last) // 2}:
                    n -= (n - piece.first) % piece.stride
                    assert kept.at(n) == tuple(plain._calculate(n)), (form, quant, n)


def _no_facts() -> Architecture:
    raise AssertionError("what is kept needs no facts")


def test_a_kv_cache_in_four_bits_is_followed_too() -> None:
    architecture = one_of_each_form()["llama"]
    for kv_dtype in ("fp8", "int8", "int4", "fp32"):
        work = replace(Workload(prompt_tokens=900, new_tokens=300), kv_dtype=kv_dtype)
        curve = context_curve(lambda: architecture, work, top=4096)
        for n in (1, 7, 128, 300, 301, 1200, 4095, 4096):
            assert curve.at(n) == tuple(curve._calculate(n)), (kv_dtype, n)

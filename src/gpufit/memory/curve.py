"""What a workload needs as one number of it grows, the context say: exact pieces, each followed once and then kept.

Where a calculation goes the same way for a range of inputs, ``traced.follow`` gives its results there as parabolas.
A Curve lines such pieces up where somebody asks, so that the second question costs a few multiplications, and the
longest input for a budget is where a parabola crosses it. Calculations that round up to whole chunks or alignments are
followed in strides of that size; within the last stride the search halves, over the calculation itself. One that cannot
be followed is asked input by input, and searched by doubling and halving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import lcm
from typing import Any, NamedTuple

from gpufit.memory.traced import Parabola, Untraceable, follow, reach

LARGEST_ALIGNMENT = 8  # elements of a 16-byte row in 16 bits; larger strides are chunks


class Piece(NamedTuple):
    """The figures for ``first``, ``first + stride`` ... ``last``, as parabolas over the number of strides."""

    first: int
    last: int
    stride: int
    figures: tuple[Parabola, ...]

    def holds(self, n: int) -> bool:
        """Whether the piece says something about ``n``."""
        return self.first <= n <= self.last and (n - self.first) % self.stride == 0

    def last_within(self, n: int, budget: int, bounded: Sequence[int]) -> int | None:
        """The last input from ``n`` on up to which every bounded figure stays within the budget; None if not one."""
        t = (n - self.first) // self.stride
        steps = (self.last - n) // self.stride
        for index in bounded:
            a, b, c, d = self.figures[index].moved(t)
            room = budget * d + d - 1 - a
            if room < 0:
                return None
            steps = min(steps, reach(room, -b, -c, steps))
        return n + steps * self.stride

    def first_within(self, n: int, budget: int, bounded: Sequence[int]) -> int | None:
        """The largest input down from ``n`` at which every bounded figure is within the budget; None without."""
        t = (n - self.first) // self.stride
        while t >= 0:
            over = [f for f in (self.figures[index].moved(t) for index in bounded) if f.at(0) > budget]
            if not over:
                return self.first + t * self.stride
            t -= 1 + max(reach(a - (budget + 1) * d, -b, c, t) for a, b, c, d in over)
        return None


class Curve:
    """A calculation over 1 to ``top``; ``bounded`` says which of its figures have to stay within a budget."""

    __slots__ = ("_bounded", "_calculate", "_pieces", "_stride", "_top", "grown")

    def __init__(
        self,
        calculate: Callable[[int], Sequence[int]],
        top: int,
        bounded: Sequence[int] = (0,),
        kept: Sequence[Any] = (1,),
    ) -> None:
        """``kept`` is what ``to_plain`` made of an earlier Curve of the same calculation."""
        self._calculate = calculate
        self._top = top
        self._bounded = bounded
        self._stride: int = kept[0]
        self._pieces = [_read_piece(self._stride, plain) for plain in kept[1:]]
        self.grown = False

    def to_plain(self) -> list[Any]:
        """The pieces known so far in values that JSON can write, constants as a bare number."""
        return [
            self._stride,
            *((p.first, p.last, *(f if f.b or f.c else f.at(0) for f in p.figures)) for p in self._pieces),
        ]

    def at(self, n: int) -> tuple[int, ...]:
        """The figures for ``n``.

        >>> Curve(lambda n: [7 * n], top=100).at(6)
        (42,)
        """
        try:
            piece = self._piece(n)
        except Untraceable:
            return tuple(self._calculate(n))
        t = (n - piece.first) // piece.stride
        return tuple(figure.at(t) for figure in piece.figures)

    def longest(self, start: int, budget: int, peaks: Iterable[int] = ()) -> int:
        """How far the input can grow from ``start`` with all bounded figures within the budget.

        Where ``start`` itself is over: the largest smaller input that is within, as all inputs below it are; 0 where
        none is. ``peaks`` are the inputs after which the figures may fall.

        >>> curve = Curve(lambda n: [7 * n + 30 * (n // 4)], top=100)
        >>> [curve.longest(8, budget) for budget in (6, 62, 200, 10_000)]
        [0, 4, 15, 100]
        """
        try:
            stride = 0
            while self._stride != stride:  # a new stride makes the pieces anew
                stride = self._stride
                found = self._search(start, budget)
        except Untraceable:
            found = self._try(start, budget)
        if found >= start:
            while over := [n for n in self._chunks_begun(found + 1, peaks) if n > start and self._is_over(n, budget)]:
                found = min(over) - 1
            return found
        over = list(self.over_below(found, budget, peaks))
        return self.longest(over[0], budget, peaks) if over else found

    def over_below(self, below: int, budget: int, peaks: Iterable[int]) -> tuple[int, ...]:
        """Of the peaks below ``below``, and its neighbours of other alignments, those that are over the budget.

        >>> Curve(lambda n: [90 if n == 5 else n], top=100).over_below(50, budget=60, peaks=[5, 49])
        (5,)
        """
        if below:
            with suppress(Untraceable):
                self._piece(below)  # which finds the stride
        small = self._stride <= LARGEST_ALIGNMENT
        others = range(below - self._stride + 1, below) if small else self._chunks_begun(below, peaks)
        return tuple(n for n in sorted({*others, *peaks}) if 0 < n < below and self._is_over(n, budget))

    def _chunks_begun(self, below: int, peaks: Iterable[int]) -> tuple[int, ...]:
        """The last inputs below ``below`` that lie in their chunk where a peak does: one just begun is padded most."""
        stride = self._stride
        return tuple(below - 1 - (below - 1 - peak) % stride for peak in peaks) if stride > LARGEST_ALIGNMENT else ()

    def _try(self, start: int, budget: int) -> int:
        """``longest`` by trial, where following fails: between two inputs that are within, all are taken to be."""
        if not self._is_within(start, budget):
            return self._between(0, start, budget)
        within, step = start, 1
        while within + step <= self._top and self._is_within(within + step, budget):
            within, step = within + step, 2 * step
        return self._between(within, min(within + step, self._top + 1), budget)

    def _is_over(self, n: int, budget: int) -> bool:
        return not self._is_within(n, budget)

    def _is_within(self, n: int, budget: int) -> bool:
        figures = self._calculate(n)
        return all(figures[index] <= budget for index in self._bounded)

    def _search(self, start: int, budget: int) -> int:
        n, over = start, start + 1
        while n >= 1:
            piece = self._piece(n)
            within = piece.first_within(n, budget, self._bounded)
            if within == start:
                return self._up(start, budget)
            if within is not None:
                return self._between(within, within + piece.stride, budget)
            over = piece.first
            n = over - piece.stride
        return self._between(0, over, budget)

    def _up(self, start: int, budget: int) -> int:
        if self._stride > LARGEST_ALIGNMENT:  # whole chunks: more of a chunk never needs less
            over = self._climb(start, self._top, budget)
            return self._between(over - self._stride, min(over, self._top + 1), budget)
        over = self._top + 1
        for n in range(start, min(start + self._stride, over)):
            over = min(over, self._climb(n, over - 1, budget))
        return over - 1

    def _climb(self, n: int, top: int, budget: int) -> int:
        """In strides from ``n``: the first input that is not within the budget, or that is above ``top``."""
        while n <= top:
            piece = self._piece(n)
            last = piece.last_within(n, budget, self._bounded)
            if last is None:
                break
            n = last + piece.stride
            if last < piece.last:
                break
        return n

    def _between(self, within: int, over: int, budget: int) -> int:
        """The border between an input that is within the budget and one that is not, by halving."""
        while over - within > 1:
            middle = (within + over) // 2
            if self._is_within(middle, budget):
                within = middle
            else:
                over = middle
        return within

    def _piece(self, n: int) -> Piece:
        for piece in self._pieces:
            if piece.holds(n):
                return piece
        found = follow(self._calculate, n, first=1, last=self._top, stride=self._stride)
        if self._stride % found.period:
            self._stride = lcm(self._stride, found.period)  # the pieces so far are not of that stride
            self._pieces.clear()
            return self._piece(n)
        piece = Piece(found.first, found.last, self._stride, found.figures)
        self._pieces.append(piece)
        self.grown = True
        return piece


def _read_piece(stride: int, plain: Sequence[Any]) -> Piece:
    first, last, *figures = plain
    return Piece(first, last, stride, tuple(Parabola(f) if isinstance(f, int) else Parabola(*f) for f in figures))

"""A number that remembers how it was made, so that one run of a calculation answers for a whole range of inputs.

``follow`` runs a calculation once, on a ``Traced`` number. Sums and products keep its results as parabolas, and every
comparison on the way narrows the range of inputs to where it comes out the same. In that range the calculation would
take the very same steps, so the parabolas are what it gives there: exactly, since all is done in whole numbers. What
cannot be followed raises Untraceable and is never guessed: all else that an int can do is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import NamedTuple, NoReturn, cast


class Untraceable(TypeError):
    """A calculation did something with its input that a Traced number does not follow."""


class Parabola(NamedTuple):
    """(a + b·t + c·t²) // d."""

    a: int
    b: int = 0
    c: int = 0
    d: int = 1

    def at(self, t: int) -> int:
        """The value at ``t``.

        >>> Parabola(1, 2, 3, 2).at(10)
        160
        """
        return (self.a + t * (self.b + t * self.c)) // self.d

    def moved(self, t: int) -> Parabola:
        """The same curve, counted from ``t``.

        >>> Parabola(1, 2, 3).moved(10).at(-10)
        1
        """
        return Parabola(self.a + t * (self.b + t * self.c), self.b + 2 * t * self.c, self.c, self.d)


class Span:
    """How many steps before (``first``, not positive) and after (``last``) the input all went the same way so far.

    ``period`` is a step at which the divisions met so far leave no rest that changes.
    """

    __slots__ = ("first", "last", "period")

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        self.period = 1

    def narrow(self, a: int, b: int, c: int) -> None:
        """Keep the steps t around 0 where a + b·t + c·t² is not negative; at 0 it is not."""
        if b or c:
            self.last = reach(a, b, c, self.last)
            self.first = -reach(a, -b, c, -self.first)


def reach(a: int, b: int, c: int, end: int) -> int:
    """The largest t up to ``end`` with a + b·t + c·t² nowhere negative from 0 to t. Neither ``a`` nor ``end`` is.

    >>> reach(10, -3, 0, 100), reach(5, -5, 1, 100), reach(7, -5, 1, 100)
    (3, 1, 100)
    """
    if c > 0 > b:  # a valley: its floor is at one of the two whole numbers around the lowest point
        lowest = min(-b // (2 * c), end)
        below = (t for t in (lowest, lowest + 1) if t <= end and a + t * (b + t * c) < 0)
        end, all_is_well = next(((t, False) for t in below), (end, True))
    else:  # it only rises, or falls ever faster
        all_is_well = a + end * (b + end * c) >= 0
    if all_is_well:
        return end
    good = 0
    while end - good > 1:
        middle = (good + end) // 2
        if a + middle * (b + middle * c) < 0:
            end = middle
        else:
            good = middle
    return good


class Traced:
    """(a + b·t + c·t²) // d, where t counts steps from the input that is followed."""

    __slots__ = ("a", "b", "c", "d", "span")

    def __init__(self, span: Span, a: int, b: int = 0, c: int = 0, d: int = 1) -> None:
        self.span = span
        self.a = a
        self.b = b
        self.c = c
        self.d = d

    def __add__(self, other: Traced | int) -> Traced:
        d = self.d
        if not isinstance(other, Traced):
            if not isinstance(other, int):
                _refuse(other)
            return Traced(self.span, self.a + d * other, self.b, self.c, d)
        if other.d != 1:
            return other + (self if d == 1 else self._fixed())
        return Traced(self.span, self.a + d * other.a, self.b + d * other.b, self.c + d * other.c, d)

    __radd__ = __add__

    def __neg__(self) -> Traced:
        return Traced(self.span, self.d - 1 - self.a, -self.b, -self.c, self.d)

    def __sub__(self, other: Traced | int) -> Traced:
        return self + -other

    def __rsub__(self, other: int) -> Traced:
        return -self + other

    def __mul__(self, other: Traced | int) -> Traced | int:
        if self.d != 1:
            return self._fixed() * other
        if not isinstance(other, Traced):
            if not isinstance(other, int):
                _refuse(other)
            return Traced(self.span, self.a * other, self.b * other, self.c * other)
        if other.d != 1:
            return self * other._fixed()
        if (self.c and (other.b or other.c)) or (self.b and other.c):
            raise Untraceable("a product of more than two traced numbers")
        b, c = self.a * other.b + self.b * other.a, self.a * other.c + self.b * other.b + self.c * other.a
        return Traced(self.span, self.a * other.a, b, c)

    __rmul__ = __mul__

    def __pow__(self, other: int) -> Traced | int:
        return self * self if other == 2 else _refuse(other)

    def __floordiv__(self, other: int) -> Traced:
        if not isinstance(other, int) or other < 1:
            _refuse(other)
        d = self.d * other
        if self.b % d or self.c % d:
            return Traced(self.span, self.a, self.b, self.c, d)
        return Traced(self.span, self.a // d, self.b // d, self.c // d)

    def __mod__(self, other: int) -> Traced | int:
        return self - other * (self // other)

    def _fixed(self) -> int:
        """The value as a plain number, in the span where it stays the same."""
        value, rest = divmod(self.a, self.d)
        self.span.narrow(rest, self.b, self.c)
        self.span.narrow(self.d - 1 - rest, -self.b, -self.c)
        self.span.period *= self.d // gcd(self.span.period, self.d)
        return value

    def __ge__(self, other: Traced | int) -> bool:
        a, b, c, d = self.a, self.b, self.c, self.d
        if not isinstance(other, Traced):
            if not isinstance(other, int):
                _refuse(other)
            a -= d * other
        elif other.d == 1:
            a, b, c = a - d * other.a, b - d * other.b, c - d * other.c
        else:
            return not other >= (self if d == 1 else self._fixed()) + 1
        if a >= 0:
            self.span.narrow(a, b, c)
            return True
        self.span.narrow(-a - 1, -b, -c)
        return False

    def __lt__(self, other: Traced | int) -> bool:
        return not self >= other

    def __gt__(self, other: Traced | int) -> bool:
        return self >= other + 1

    def __le__(self, other: Traced | int) -> bool:
        return not self >= other + 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Traced, int)):
            return False if other is None or isinstance(other, str) else _refuse(other)
        return self >= other and self <= other

    def __bool__(self) -> bool:
        return self != 0


def _refuse(*operands: object, **named: object) -> NoReturn:
    raise Untraceable("this operation is not followed")


# What else an int can do, from hash() and division to bit_length, must not find another way: no cache may take the
# number for the int that it equals, no text may quote it.
for _name, _what in {**vars(int), "__str__": str}.items():
    if _name in ("__hash__", "__str__", "__format__") or _name not in {*vars(Traced), *vars(object)}:
        setattr(Traced, _name, _refuse if callable(_what) else property(_refuse))


def widest(
    numbers: Sequence[int | Traced], products: Sequence[Sequence[int]], sums: Sequence[Sequence[tuple[int, int]]]
) -> tuple[Traced | int, int]:
    """The largest of several sums of products, and its place; the first of equals.

    ``products`` are places in ``numbers``, ``sums`` are (count, place in ``products``). It gives what the loop over
    sums and comparisons would, but asks only that the winner stays ahead, not that the others keep their order.
    """
    span = next(number.span for number in numbers if isinstance(number, Traced))
    made = []
    for places in products:
        a, b, c = 1, 0, 0
        for place in places:
            number = numbers[place]
            if isinstance(number, Traced):
                one = Traced(span, a, b, c) * number
                a, b, c = (one.a, one.b, one.c) if isinstance(one, Traced) else (one, 0, 0)
            else:
                a, b, c = a * number, b * number, c * number
        made.append((a, b, c))
    totals = []
    for terms in sums:
        a = b = c = 0
        for count, place in terms:
            more = made[place]
            a, b, c = a + count * more[0], b + count * more[1], c + count * more[2]
        totals.append((a, b, c))
    winner = max(range(len(totals)), key=lambda place: totals[place][0])
    a, b, c = totals[winner]
    for place, other in enumerate(totals):
        if place != winner:
            span.narrow(a - other[0] - (place < winner), b - other[1], c - other[2])
    return Traced(span, a, b, c), winner


class Followed(NamedTuple):
    """What a calculation gives for ``first``, ``first + stride`` and so on up to ``last``.

    ``figures`` are over the number of strides from ``first``. ``period``: a stride with a longer range, maybe.
    """

    first: int
    last: int
    figures: tuple[Parabola, ...]
    period: int


def follow(calculate: Callable[[int], Sequence[int]], n: int, *, first: int, last: int, stride: int = 1) -> Followed:
    """Run ``calculate`` on ``n`` and find how far its results hold, within ``first`` to ``last``.

    Raises Untraceable where the calculation cannot be followed, and what it raises itself.

    >>> follow(lambda n: [max(100, 2 * n * n)], 9, first=1, last=1000)[:3]
    (8, 1000, (Parabola(a=128, b=32, c=2, d=1),))
    >>> follow(lambda n: [(n // 8) ** 2], 9, first=1, last=1000)  # constant over eight inputs, a parabola over eighths
    Followed(first=8, last=15, figures=(Parabola(a=1, b=0, c=0, d=1),), period=8)
    >>> follow(lambda n: [(n // 8) ** 2], 9, first=1, last=1000, stride=8)[:3]
    (1, 993, (Parabola(a=0, b=0, c=1, d=1),))
    """
    span = Span(-((n - first) // stride), (last - n) // stride)
    found = calculate(cast("int", Traced(span, n, stride)))
    figures = tuple(
        Parabola(one.a, one.b, one.c, one.d).moved(span.first) if isinstance(one, Traced) else Parabola(one)
        for one in found
    )
    return Followed(n + span.first * stride, n + span.last * stride, figures, span.period)

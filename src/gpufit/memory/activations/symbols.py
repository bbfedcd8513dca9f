"""The letters that the formulas are written in, and the small algebra that keeps formula and number one thing.

A formula such as ``T * b * (3 * f + 4 * h)`` is an ``Expr``: it prints as it was written and is evaluated as a sum of
products, so what ``explain`` shows is what was computed. Building happens once per form; evaluating is a few
multiplications.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

_EXPONENT_BITS = 4  # a product of letters is one number with so many bits a letter: multiplying adds the exponents


class Sizes(NamedTuple):
    """The value of every letter for one architecture, workload and phase. Absent dimensions are 0."""

    T: int = 0  # tokens that go through a block at once: batch × query length
    B: int = 0  # batch
    S: int = 0  # query length
    C: int = 0  # key length: what attention sees, query tokens included
    P: int = 0  # batch × key length
    A: int = 0  # elements of the attention scores: batch × heads × query × key length
    M: int = 0  # elements of an additive mask: batch × query × key length
    N: int = 0  # elements of a mask shared by the batch: query × key length
    b: int = 0  # bytes per element of the model's dtype
    h: int = 0  # width of the residual stream
    f: int = 0  # width of the MLP
    q: int = 0  # query width: heads × head dimension
    k: int = 0  # key width: key heads × head dimension
    v: int = 0  # value width: key heads × value dimension
    o: int = 0  # attention output width: heads × value dimension
    H: int = 0  # attention heads
    G: int = 0  # key/value heads
    r: int = 0  # rotary part of the queries: heads × rotary dimension
    j: int = 0  # rotary part of the keys: key heads × rotary dimension
    D: int = 0  # rotary dimension of one head
    V: int = 0  # vocabulary
    E: int = 0  # routed experts
    e: int = 0  # experts per token
    w: int = 0  # width of a routed expert
    u: int = 0  # width of the shared experts
    R: int = 0  # rank of the compressed queries (latent attention)
    K: int = 0  # rank of the compressed keys and values (latent attention)
    Z: int = 0  # encoder tokens in the batch (encoder-decoder)
    Y: int = 0  # elements of the cross-attention scores
    i: int = 0  # inner width of a recurrent mixer or an indexer
    s: int = 0  # state size of a recurrent mixer; width of one head of an indexer
    n: int = 0  # convolution width of a recurrent mixer
    g: int = 0  # state groups of a recurrent mixer
    m: int = 0  # heads of a recurrent mixer
    t: int = 0  # time-step rank of a recurrent mixer
    Q: int = 0  # chunk length of a recurrent scan
    X: int = 0  # rows of a relative position table; input features of one encoder token; heads of an indexer
    L: int = 0  # layers
    F: int = 0  # width of a fused query, key and value projection
    W: int = 0  # batch × tokens that a sliding-window layer caches
    p: int = 0  # tokens of a scan, each sequence padded to whole chunks
    x: int = 0  # states between chunks: batch × (chunks + 1)
    y: int = 0  # pairs of chunks: batch × (chunks + 1)²
    d: int = 0  # key width of a delta net: value heads × key dimension
    a: int = 0  # width of a delta net's convolution, or of latent experts
    z: int = 0  # bytes of cache that layers further on will add
    U: int = 0  # numbers in the batch's pictures


class Expr:
    """A sum of products of letters, with the text it was written as.

    >>> from gpufit.memory.activations.symbols import T, b, f, h
    >>> mlp = T * b * (3 * f + 4 * h)
    >>> str(mlp), mlp.value(Sizes(T=10, b=2, f=11, h=4))
    ('T·b·(3·f + 4·h)', 980)
    """

    __slots__ = ("_made_of", "counts")

    def __init__(self, counts: dict[int, int], made_of: str | tuple[str, Expr, Expr]) -> None:
        """``counts``: product of letters -> how often it occurs; ``made_of``: the text, or what it is made of.

        A product is written as one number, which ``factors`` takes apart.
        """
        self.counts = counts
        self._made_of = made_of  # put into words only when somebody reads it

    def value(self, sizes: Sizes) -> int:
        """The number that the formula has for these sizes."""
        total = 0
        for letters, product in self.counts.items():
            for letter in factors(letters):
                product *= sizes[letter]
            total += product
        return total

    def within(self, other: Expr) -> bool:
        """Whether this formula exceeds the other for no sizes at all, told product by product."""
        mine, theirs = self.counts, other.counts
        for letters, count in mine.items():
            if count > theirs.get(letters, 0):
                return False
        return all(count >= 0 or letters in mine for letters, count in theirs.items())

    def letters(self) -> tuple[str, ...]:
        """The letters that occur, in the order of ``Sizes``."""
        return tuple(Sizes._fields[index] for index in sorted({i for letters in self.counts for i in factors(letters)}))

    def __str__(self) -> str:
        if isinstance(self._made_of, str):
            return self._made_of
        sign, left, right = self._made_of
        if sign == "·":
            return f"{left._grouped()}·{right._grouped()}"
        return f"{left} {sign} {right._grouped() if sign == '-' else right}"

    def __repr__(self) -> str:
        return f"Expr({self})"

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __add__(self, other: Expr | int) -> Expr:
        right = as_expr(other)
        return right if not self.counts else self._joined("+", right, 1)

    def __sub__(self, other: Expr | int) -> Expr:
        return self._joined("-", as_expr(other), -1)

    def __radd__(self, other: int) -> Expr:
        return as_expr(other) + self

    def _joined(self, sign: str, right: Expr, factor: int) -> Expr:
        if not right.counts:
            return self
        counts = self.counts.copy()
        for letters, count in right.counts.items():
            total = counts.get(letters, 0) + factor * count
            if total:
                counts[letters] = total
            else:
                del counts[letters]
        return Expr(counts, (sign, self, right))

    def __mul__(self, other: Expr | int) -> Expr:
        right = as_expr(other)
        if len(right.counts) == 1:
            ((more, factor),) = right.counts.items()
            return Expr({letters + more: count * factor for letters, count in self.counts.items()}, ("·", self, right))
        counts: dict[int, int] = {}
        for letters, one in self.counts.items():
            for more, two in right.counts.items():
                counts[letters + more] = counts.get(letters + more, 0) + one * two
        return Expr({letters: count for letters, count in counts.items() if count}, ("·", self, right))

    def __rmul__(self, other: int) -> Expr:
        return self if other == 1 else as_expr(other) * self

    def _grouped(self) -> str:
        is_sum = not isinstance(self._made_of, str) and self._made_of[0] != "·"
        return f"({self})" if is_sum else str(self)


def as_expr(value: Expr | int) -> Expr:
    """A whole number as a formula."""
    if isinstance(value, Expr):
        return value
    return Expr({0: value} if value else {}, str(value))


@cache
def factors(product: int) -> tuple[int, ...]:
    """The places in ``Sizes`` of the letters of a product, each as often as it occurs.

    >>> [factors(letters) for letters in (T * b * b + 8).counts]
    [(0, 8, 8), ()]
    """
    found, letter = [], 0
    while product:
        found += [letter] * (product & (1 << _EXPONENT_BITS) - 1)
        product >>= _EXPONENT_BITS
        letter += 1
    return tuple(found)


NOTHING = as_expr(0)
(
    T, B, S, C, P, A, M, N, b, h, f, q, k, v, o, H, G, r, j, D, V, E, e, w, u, R, K, Z, Y,
    i, s, n, g, m, t, Q, X, L, F, W,
    p, x, y, d, a, z, U,
) = (Expr({1 << _EXPONENT_BITS * index: 1}, name) for index, name in enumerate(Sizes._fields))  # fmt: skip

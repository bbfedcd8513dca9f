"""Who lives, who dies, and how high it went: the bytes of every storage above the residents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Entry(NamedTuple):
    """A living storage: its bytes, and the module and operation that made it."""

    bytes: int
    module: str
    op: str


class Instant(NamedTuple):
    """The widest instant of a scope: temporaries alive, and gradients of weights that exist by then."""

    temporaries_bytes: int
    gradients_bytes: int
    event: int


class Scope:
    """A stretch of the step under a name, with the instant of most temporaries and that of most bytes in all."""

    __slots__ = ("most", "name", "sum")

    def __init__(self, name: str, now: Instant) -> None:
        self.name = name
        self.most = self.sum = now


class Ledger:
    """Counts births and deaths. Gradients of weights are counted apart: who plans the step adds them to its own sum."""

    __slots__ = ("alive", "events", "gradients_bytes", "module", "op", "scope", "scopes", "temporaries_bytes")

    def __init__(self) -> None:
        self.temporaries_bytes = 0
        self.gradients_bytes = 0
        self.events = 0
        self.alive: dict[int, Entry] = {}
        self.module = self.op = ""
        self.scopes: list[Scope] = []
        self.enter("start")

    def enter(self, name: str) -> None:
        """From now on peaks belong to that scope."""
        self.scope = Scope(name, Instant(self.temporaries_bytes, self.gradients_bytes, self.events))
        self.scopes.append(self.scope)

    @contextmanager
    def inside(self, module: str) -> Iterator[None]:
        """Storages born inside carry the module's name."""
        outer, self.module = self.module, f"{self.module}.{module}" if self.module else module
        try:
            yield
        finally:
            self.module = outer

    def born(self, size_bytes: int) -> int:
        """Count a storage; its handle."""
        self.events += 1
        handle = self.events
        self.alive[handle] = Entry(size_bytes, self.module, self.op)
        self.temporaries_bytes += size_bytes
        scope = self.scope
        if self.temporaries_bytes > scope.most.temporaries_bytes:
            scope.most = Instant(self.temporaries_bytes, self.gradients_bytes, handle)
        total = scope.sum.temporaries_bytes + scope.sum.gradients_bytes
        if self.temporaries_bytes + self.gradients_bytes > total:
            scope.sum = Instant(self.temporaries_bytes, self.gradients_bytes, handle)
        return handle

    def died(self, handle: int) -> None:
        """Forget a storage; one that became a gradient lives on."""
        entry = self.alive.pop(handle, None)
        if entry is not None:
            self.temporaries_bytes -= entry.bytes

    def becomes_gradient(self, handle: int) -> None:
        """A temporary turns into the gradient of a weight."""
        entry = self.alive.pop(handle)
        self.temporaries_bytes -= entry.bytes
        self.gradients_bytes += entry.bytes

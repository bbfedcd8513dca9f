"""ggml's graph allocator on sizes alone: the compute buffer is the highest address that a graph's tensors reach.

Source: ggml/src/ggml-alloc.c, ggml_dyn_tallocr_alloc (best fit among the free blocks, else the open end),
ggml_gallocr_allocate_node (an operation may overwrite its only-once-used parent) and ggml_gallocr_alloc_graph_impl.
"""

from __future__ import annotations

from bisect import insort

from gpufit.records import record

ALIGNMENT = 128  # ggml_backend_cuda_buffer_type_get_alignment; 32 on the CPU, which no size here can tell apart


@record
class Node:
    """One tensor: its bytes, the nodes it reads, and whether it may take a parent's place. Inputs stand there first."""

    size_bytes: int
    reads: tuple[int, ...] = ()
    in_place: bool = False
    is_input: bool = False


def peak_bytes(nodes: tuple[Node, ...]) -> int:
    """The buffer that a graph needs; ``nodes`` are in the order of execution.

    >>> first, second = Node(size_bytes=256), Node(size_bytes=256, reads=(0,))
    >>> peak_bytes((first, second, Node(size_bytes=256, reads=(1,), in_place=True)))
    512
    """
    readers = [0] * len(nodes)
    for node in nodes:
        for read in node.reads:
            readers[read] += 1
    arena = _Arena()
    places: dict[int, tuple[int, int]] = {}
    for index, node in enumerate(nodes):
        if node.is_input:
            places[index] = arena.take(node.size_bytes)
    for index, node in enumerate(nodes):
        if index not in places and node.size_bytes:
            heir = next((r for r in node.reads if _may_overwrite(nodes, r, node, readers, places)), None)
            places[index] = places.pop(heir) if heir is not None else arena.take(node.size_bytes)
        for read in node.reads:
            readers[read] -= 1
            if readers[read] == 0 and read in places:
                arena.give(places.pop(read))
    return arena.highest


def _may_overwrite(
    nodes: tuple[Node, ...], parent: int, node: Node, readers: list[int], places: dict[int, tuple[int, int]]
) -> bool:
    alike = nodes[parent].size_bytes == node.size_bytes
    return node.in_place and alike and readers[parent] == 1 and parent in places


class _Arena:
    """Free blocks below an open end, by address."""

    __slots__ = ("end", "free", "highest")

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []  # (start, size)
        self.end = 0
        self.highest = 0

    def take(self, size_bytes: int) -> tuple[int, int]:
        """The smallest free block that is large enough, the last of equals; else the open end."""
        size = -(-size_bytes // ALIGNMENT) * ALIGNMENT
        fitting = [(have, -start) for start, have in self.free if have >= size]
        if not fitting:
            start, self.end = self.end, self.end + size
            self.highest = max(self.highest, self.end)
            return start, size
        have, negative = min(fitting)
        start = -negative
        self.free.remove((start, have))
        if have > size:
            insort(self.free, (start + size, have - size))
        return start, size

    def give(self, block: tuple[int, int]) -> None:
        """Free a block and join it with its free neighbours and the open end."""
        start, size = block
        for other in [b for b in self.free if b[0] + b[1] == start or b[0] == start + size]:
            self.free.remove(other)
            start, size = min(start, other[0]), size + other[1]
        if start + size == self.end:
            self.end = start
        else:
            insort(self.free, (start, size))

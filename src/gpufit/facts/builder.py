"""How a family reader writes tensors down: like the module tree it mirrors, top to bottom."""

from __future__ import annotations

from gpufit.facts.tensors import Module, Role, TensorGroup


class Tensors:
    """Collects tensor groups under a name prefix. ``blocks`` opens a repeated prefix on the same list.

    >>> t = Tensors()
    >>> t.embedding("embed", 10, 4)
    >>> t.blocks("layers", 2).linear("up", 4, 8, role="mlp")
    >>> sum(g.parameters for g in t.groups)
    104
    """

    __slots__ = ("_indices", "_prefix", "groups")

    def __init__(
        self, prefix: str = "", indices: tuple[tuple[int, ...], ...] = (), groups: list[TensorGroup] | None = None
    ) -> None:
        self._prefix = prefix
        self._indices = indices
        self.groups: list[TensorGroup] = [] if groups is None else groups

    def under(self, name: str) -> Tensors:
        """The same list with ``name.`` before every further name."""
        return Tensors(f"{self._prefix}{name}.", self._indices, self.groups)

    def blocks(self, name: str, layers: int | tuple[int, ...]) -> Tensors:
        """A ModuleList: every further tensor stands once per layer index."""
        index = tuple(range(layers)) if isinstance(layers, int) else layers
        return Tensors(f"{self._prefix}{name}.{{}}.", (*self._indices, index), self.groups)

    def add(
        self,
        name: str,
        shape: tuple[int, ...],
        module: Module,
        role: Role,
        *,
        dtype: str | None = None,
        tied_to: str | None = None,
        saved: bool = True,
    ) -> None:
        """Add one tensor by its full shape."""
        if self._indices and not all(self._indices):
            return  # a ModuleList of no layers
        self.groups.append(
            TensorGroup(
                name=self._prefix + name, shape=shape, module=module, role=role,
                indices=self._indices, dtype=dtype, tied_to=tied_to, saved=saved,
            )
        )  # fmt: skip

    def linear(
        self, name: str, inputs: int, outputs: int, *, role: Role, bias: bool = False, tied_to: str | None = None
    ) -> None:
        """torch.nn.Linear: weight (outputs, inputs), optional bias (outputs,)."""
        self.add(f"{name}.weight", (outputs, inputs), "linear", role, tied_to=tied_to)
        if bias:
            self.add(f"{name}.bias", (outputs,), "linear", role)

    def conv1d(self, name: str, inputs: int, outputs: int, *, role: Role) -> None:
        """transformers' Conv1D (GPT-2): weight (inputs, outputs) and bias (outputs,)."""
        self.add(f"{name}.weight", (inputs, outputs), "conv1d", role)
        self.add(f"{name}.bias", (outputs,), "conv1d", role)

    def embedding(
        self, name: str, rows: int, width: int, *, role: Role = "embedding", tied_to: str | None = None
    ) -> None:
        """torch.nn.Embedding: weight (rows, width)."""
        self.add(f"{name}.weight", (rows, width), "embedding", role, tied_to=tied_to)

    def norm(self, name: str, width: int, *, bias: bool = False, role: Role = "norm") -> None:
        """RMSNorm, or LayerNorm with ``bias=True``."""
        self.add(f"{name}.weight", (width,), "norm", role)
        if bias:
            self.add(f"{name}.bias", (width,), "norm", role)

    def buffer(self, name: str, shape: tuple[int, ...], dtype: str, *, role: Role = "attention") -> None:
        """A non-persistent buffer on the device: computed at start, never in the checkpoint."""
        self.add(name, shape, "buffer", role, dtype=dtype, saved=False)

"""Every tensor a model holds, without holding any: names, shapes, and what kind of module owns them.

Repeated layers are written once. A ``TensorGroup`` stands for one tensor per element of the product of
its ``indices``, so Llama-2-7B's 291 tensors are twelve groups and counting them takes microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Literal

from gpufit.records import derived, record

Module = Literal["linear", "linear_kin", "conv1d", "embedding", "norm", "conv", "experts", "parameter", "sines",
                 "buffer"]  # fmt: skip
"""What owns the tensor. ``linear`` is exactly torch.nn.Linear, ``linear_kin`` a subclass of it (which loaders that ask
for the exact class pass over), ``conv1d`` transformers' Conv1D (GPT-2);
``experts`` is a fused 3-D parameter (experts, out, in); ``sines`` a parameter that never learns; ``buffer`` is
registered, saved or not."""

Role = Literal[
    "embedding", "attention", "mlp", "experts", "router", "norm", "output", "mixer", "vision", "audio", "head", "stored"
]  # fmt: skip


@record
class TensorGroup:
    """One tensor per combination of ``indices``, all of one ``shape``.

    ``name`` has one ``{}`` per entry of ``indices``. ``dtype`` is set where the tensor keeps its own
    number format whatever the model is loaded in (a bool mask, an fp32 rotary table). ``tied_to`` names the
    tensor whose storage this one shares; it then weighs nothing. ``saved`` is False for buffers that the
    checkpoint does not hold.
    """

    name: str
    shape: tuple[int, ...]
    module: Module
    role: Role
    indices: tuple[tuple[int, ...], ...] = ()
    dtype: str | None = None
    tied_to: str | None = None
    saved: bool = True
    copies: int = derived()
    elements: int = derived()

    def __post_init__(self) -> None:
        object.__setattr__(self, "copies", prod(map(len, self.indices)))
        object.__setattr__(self, "elements", prod(self.shape))

    @property
    def parameters(self) -> int:
        """Parameters of all copies; 0 for buffers and for tied tensors, which own no storage."""
        return 0 if self.module == "buffer" or self.tied_to else self.copies * self.elements

    @property
    def in_blocks(self) -> bool:
        """Whether the tensor sits inside the repeated blocks (what GPTQ and AWQ quantize)."""
        return bool(self.indices)

    @property
    def module_name(self) -> str:
        """The owner's path: ``model.layers.{}.mlp.up_proj`` for its ``.weight``."""
        return self.name.rpartition(".")[0]

    def names(self) -> Iterator[str]:
        """Every full tensor name this group stands for."""
        return (self.name.format(*index) for index in product(*self.indices))


@record(eq=False)
class TensorInventory:
    """All tensors of a model, in the order of torch's ``named_parameters`` within a layer.

    ``output`` is the name of the output embedding's weight (``get_output_embeddings()``), if the model has one.
    ``keep_fp32`` holds transformers' ``_keep_in_fp32_modules``: module-name parts that stay fp32 under fp16
    (under bf16 too where listed in ``keep_fp32_strict``).
    """

    groups: tuple[TensorGroup, ...]
    output: str | None = None
    keep_fp32: tuple[str, ...] = ()
    keep_fp32_strict: tuple[str, ...] = ()
    parameters: int = derived()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", sum(group.parameters for group in self.groups))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter's full name and shape, tied names included, buffers not."""
        return {name: g.shape for g in self.groups if g.module != "buffer" for name in g.names()}

"""Which tensors learn: every parameter, or the adapters that peft puts beside the targeted modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import prod

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.tensors import Module, TensorGroup
from gpufit.memory.training.plan import ALL_LINEAR, TrainingPlan
from gpufit.memory.weights import round_allocation
from gpufit.records import record

_LINEAR: frozenset[Module] = frozenset({"linear", "linear_kin", "conv1d"})
_REGULAR = re.compile(r"[\\\[\](|*+?^$]")  # what a module name never has and a regular expression does


@record
class Trained:
    """Tensors alike that have a gradient: ``copies`` of one ``shape``, in the number format ``dtype``.

    ``decayed`` is False where the Trainer's optimizer applies no weight decay and so keeps a parameter group of its
    own; ``embedding`` marks the weight of an nn.Embedding, which 8-bit optimizers leave in 32 bits. ``blocks`` is the
    number of repeated layers that the copies are spread over, 0 for what stands outside of them.
    """

    name: str
    shape: tuple[int, ...]
    copies: int
    dtype: str
    decayed: bool = True
    embedding: bool = False
    blocks: int = 0

    @property
    def elements(self) -> int:
        """Elements of one copy."""
        return prod(self.shape)

    @property
    def parameters(self) -> int:
        """Elements of all copies."""
        return self.copies * self.elements

    @property
    def total_bytes(self) -> int:
        """Bytes of all copies."""
        return self.parameters * DTYPE_BYTES[self.dtype]

    @property
    def rounded_bytes(self) -> int:
        """What the CUDA allocator counts for all copies."""
        return self.copies * round_allocation(self.elements * DTYPE_BYTES[self.dtype])


@lru_cache(maxsize=1024)
def trained_tensors(architecture: Architecture, plan: TrainingPlan) -> tuple[Trained, ...]:
    """Everything that learns, in the order of the model's parameters.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> [sum(t.parameters for t in trained_tensors(llama, TrainingPlan(method=m))) for m in ("full", "lora")]
    [6738415616, 4194304]

    Raises Unsupported where no module carries the names asked for.
    """
    if not plan.trains_adapters:
        return tuple(_whole(group, plan.base_dtype, group.name) for group in _parameters(architecture))
    dtype = plan.adapter_dtype or "fp32"  # peft 0.21.2, tuners_utils.py, cast_adapter_dtype: 16 bits become 32
    found = [tensor for group in targeted_groups(architecture, plan) for tensor in _adapter(group, plan, dtype)]
    found += [_whole(group, plan.copied_dtype, group.name) for group in saved_groups(architecture, plan)]
    if not found:
        raise Unsupported(
            f"no module of {architecture.model_type} is named {', '.join(plan.targets_for(architecture.model_type))}",
            hint="use --lora-targets all-linear, or names such as q_proj,v_proj",
        )
    return tuple(found)


def targeted_groups(architecture: Architecture, plan: TrainingPlan) -> tuple[TensorGroup, ...]:
    """The weights whose modules carry adapters.

    Names match as peft's do: the whole module name, its end after a dot, or a regular expression; ``all-linear`` takes
    every nn.Linear and Conv1D but the output embedding. Fused experts are parameters, not modules, and have none.
    Source: peft 0.21.2, tuners_utils.py, check_target_module_exists and _maybe_include_all_linear_layers.
    """
    targets = plan.targets_for(architecture.model_type)
    output = architecture.tensors.output
    found = []
    for group in architecture.tensors.groups:
        if not group.name.endswith(".weight") or _is_saved(group, plan.modules_to_save):
            continue
        name = group.module_name
        if targets == (ALL_LINEAR,):
            matched = group.module in _LINEAR and group.name != output
        else:
            matched = group.module in _LINEAR | {"embedding"} and any(_names(name, target) for target in targets)
        if matched and not (group.tied_to and group.module == "embedding"):
            found.append(group)
    return tuple(found)


def saved_groups(architecture: Architecture, plan: TrainingPlan) -> tuple[TensorGroup, ...]:
    """The tensors of ``modules_to_save``: peft trains a copy of the whole module and keeps the original."""
    groups = architecture.tensors.groups
    return tuple(g for g in groups if g.module != "buffer" and _is_saved(g, plan.modules_to_save))


def _parameters(architecture: Architecture) -> Iterator[TensorGroup]:
    return (g for g in architecture.tensors.groups if g.module not in ("buffer", "sines") and not g.tied_to)


def _is_saved(group: TensorGroup, names: tuple[str, ...]) -> bool:
    return any(_names(group.module_name, name) for name in names)


def _names(module: str, target: str) -> bool:
    """Whether a module's path (``{}`` for layer numbers) is what a target names."""
    path = module.replace("{}", "0")
    if _REGULAR.search(target):
        return re.fullmatch(target, path) is not None
    return path == target or path.endswith("." + target)


def _whole(group: TensorGroup, dtype: str, name: str) -> Trained:
    # transformers 5.23.0, trainer.py, get_decay_parameter_names: no decay for norms and biases
    plain = group.module != "norm" and not name.endswith("bias")
    return Trained(
        name=name, shape=group.shape, copies=group.copies, dtype=group.dtype or dtype, decayed=plain,
        embedding=group.module == "embedding", blocks=len(group.indices[0]) if group.indices else 0,
    )  # fmt: skip


def _adapter(group: TensorGroup, plan: TrainingPlan, dtype: str) -> Iterator[Trained]:
    """lora_A (r, in) and lora_B (out, r), for DoRA the magnitudes (out,).

    Source: peft 0.21.2, tuners/lora/layer.py, LoraLayer.update_layer; an embedding's are (r, rows) and (width, r).
    """
    outputs, inputs = group.shape[-2:]
    if group.module in ("conv1d", "embedding"):
        outputs, inputs = inputs, outputs
    blocks = len(group.indices[0]) if group.indices else 0
    made = [("lora_A", (plan.lora_r, inputs)), ("lora_B", (outputs, plan.lora_r))]
    shapes: list[tuple[str, tuple[int, ...]]] = [*made, ("lora_magnitude_vector", (outputs,))] if plan.dora else [*made]
    for part, shape in shapes:
        yield Trained(
            name=f"{group.module_name}.{part}", shape=shape, copies=group.copies, dtype=dtype, blocks=blocks,
        )  # fmt: skip

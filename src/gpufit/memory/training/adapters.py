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
from gpufit.memory.training.fused import split_targets
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
    found = [t for group, rank in targeted_groups(architecture, plan) for t in _adapter(group, plan, rank, dtype)]
    found += [_whole(group, plan.copied_dtype, group.name) for group in saved_groups(architecture, plan)]
    if not found:
        raise Unsupported(
            f"no module of {architecture.model_type} is named {', '.join(plan.targets_for(architecture.model_type))}",
            hint="use --lora-targets all-linear, or names such as q_proj,v_proj",
        )
    return tuple(found)


def targeted_groups(architecture: Architecture, plan: TrainingPlan) -> tuple[tuple[TensorGroup, int], ...]:
    """The weights that carry adapters, or whose modules do, and the rank of each.

    Names match as peft's do: the whole module name, its end after a dot, or a regular expression; ``all-linear`` takes
    every nn.Linear and Conv1D but the output embedding. Fused experts are parameters, not modules: ``fused`` says where
    peft reaches them.
    Source: peft 0.21.2, tuners_utils.py, check_target_module_exists and _maybe_include_all_linear_layers.
    """
    output = architecture.tensors.output
    plain = [g for g in architecture.tensors.groups if g.module in _LINEAR and g.name != output]
    linear = frozenset(group.module_name.rpartition(".")[2] for group in plain)
    targets, parameters = split_targets(architecture, plan, linear)
    found = []
    for group in architecture.tensors.groups:
        if group.module == "buffer" or _is_saved(group, plan.modules_to_save):
            continue
        wrapped = next((parameters[name] for name in parameters if group.name.endswith("." + name)), 0)
        if wrapped:
            found.append((group, wrapped))
        if wrapped or not group.name.endswith(".weight"):
            continue
        name = group.module_name
        if targets == (ALL_LINEAR,):
            matched = group.module in _LINEAR and group.name != output
        else:
            matched = group.module in _LINEAR | {"embedding"} and any(_names(name, target) for target in targets)
        if matched and not (group.tied_to and group.module == "embedding"):
            found.append((group, plan.lora_r))
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


def _adapter(group: TensorGroup, plan: TrainingPlan, rank: int, dtype: str) -> Iterator[Trained]:
    """lora_A (r, in) and lora_B (out, r), r for each of fused experts; for DoRA the magnitudes (out,).

    Source: peft 0.21.2, tuners/lora/layer.py, LoraLayer.update_layer; an embedding's are (r, rows) and (width, r).
    """
    outputs, inputs = group.shape[-2:]
    if group.module in ("conv1d", "embedding"):
        outputs, inputs = inputs, outputs
    blocks = len(group.indices[0]) if group.indices else 0
    ranks = rank * prod(group.shape[:-2])  # ParamWrapper.update_layer
    made = [("lora_A", (ranks, inputs)), ("lora_B", (outputs, ranks))]
    shapes: list[tuple[str, tuple[int, ...]]] = [*made, ("lora_magnitude_vector", (outputs,))] if plan.dora else [*made]
    owner = group.name.removesuffix(".weight")
    for part, shape in shapes:
        yield Trained(
            name=f"{owner}.{part}", shape=shape, copies=group.copies, dtype=dtype, blocks=blocks,
        )  # fmt: skip

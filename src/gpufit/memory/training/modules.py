"""torch's and peft's modules on a tape: weights by the names that the model gives them, adapters, quantized layers.

A program asks a :class:`Part` for its submodules as modelling code asks ``self``: ``part.linear("mlp.up_proj", x)``.
Shapes, biases, ties and number formats come from the inventory; whether a weight learns from the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import TypeVar

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.tensors import TensorGroup
from gpufit.memory.training.adapters import saved_groups, targeted_groups
from gpufit.memory.training.dora import dora_update
from gpufit.memory.training.fused import ATTENTION_ALONE
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.quantized import multiply_4bit, multiply_8bit
from gpufit.memory.training.tape.graph import Parameter, Tape
from gpufit.memory.training.tape.ops import add, cast, dropout, mean, mul, power, scale, shift
from gpufit.memory.training.tape.ops import from_result as _function_of_result
from gpufit.memory.training.tape.products import embedding, layer_norm, linear, mm
from gpufit.memory.training.tape.tensor import Shape, Tensor
from gpufit.memory.training.tape.views import view
from gpufit.memory.versions import holds
from gpufit.memory.weights import weigh_groups
from gpufit.records import record

Result = TypeVar("Result")


@record
class Weight:
    """What is known of one tensor group while it trains: its format, whether it learns, quantization.

    ``rank`` is that of its adapter, 0 where it has none.
    """

    group: TensorGroup
    dtype: str
    trained: bool
    rank: int
    quantized: bool


class Model:
    """An architecture under a plan, on a tape."""

    def __init__(self, architecture: Architecture, plan: TrainingPlan, tape: Tape) -> None:
        self.architecture = architecture
        self.plan = plan
        self.tape = tape
        self.dropout = architecture.dropout
        # of encoder-decoders in old releases nothing is published, and the reentrant form is not held by a replay
        version, model_type = plan.library_version, architecture.model_type
        self.reentrant = len(architecture.stacks) == 1 and holds("reentrant checkpoints", version, model_type)
        self.keeps_leaves = plan.frozen_units and holds("checkpoints around layers", version, model_type)
        self.keeps_caches = holds("caches beside checkpoints", version, model_type)
        self.caches: list[Tensor] = []  # what the model hands out beside the logits; dies with its output
        self.weights = weights_by_name(architecture, plan)
        self.checkpoint_bytes = self.logits_bytes = 0
        self.repeats: dict[str, int] = {}  # a layer's path -> how many layers it stands for, if not one
        self.stand_ins: dict[tuple[str, tuple[int, ...]], Callable[[], Tensor]] = {}  # for weights under a wrapper
        self._made: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def part(self, prefix: str = "", *index: int) -> Part:
        """The submodule of that path, ``{}`` standing for layer numbers."""
        return Part(self, f"{prefix}." if prefix else "", index)

    def find(self, name: str, index: tuple[int, ...]) -> Weight | None:
        """The tensor of that name in that layer."""
        for weight in self.weights.get(name, ()):
            indices = weight.group.indices
            if not indices or index[0] in indices[0]:
                return weight
        return None

    def tensor(self, weight: Weight, index: tuple[int, ...]) -> Tensor:
        """A weight as a tensor: the same one each time, tied ones shared."""
        name = weight.group.tied_to or weight.group.name
        key = (name, index if weight.group.indices else ())
        made = self._made.get(key)
        if made is None:
            leaf = Parameter(name, self.tape.accumulates) if weight.trained else None
            made = self._made[key] = self.tape.resident(weight.group.shape, weight.dtype, leaf)
        return made

    def gradient_bytes(self, prefix: str, index: int) -> int:
        """Bytes of the gradients of what learns in one layer."""
        plan, total = self.plan, 0
        for name, weights in self.weights.items():
            if not name.startswith(prefix):
                continue
            for weight in weights:
                group = weight.group
                if not group.indices or index not in group.indices[0] or group.tied_to:
                    continue
                copies = prod(map(len, group.indices[1:]))
                if weight.trained:
                    total += copies * group.elements * DTYPE_BYTES[weight.dtype]
                ranks = weight.rank * prod(group.shape[:-2])
                total += copies * ranks * sum(group.shape[-2:]) * DTYPE_BYTES[plan.adapter_dtype or "fp32"]
        return total

    def added(self, name: str, index: tuple[int, ...], shape: Shape, dtype: str) -> Tensor:
        """A trained tensor that peft put beside the model's own."""
        key = (name, index)
        if key not in self._made:
            self._made[key] = self.tape.resident(shape, dtype, Parameter(name, self.tape.accumulates))
        return self._made[key]


class Part:
    """A module of the model, seen from inside."""

    __slots__ = ("_prefix", "dropout", "index", "model", "tape")

    def __init__(self, model: Model, prefix: str, index: tuple[int, ...]) -> None:
        self.model, self._prefix, self.index = model, prefix, index
        self.tape = model.tape
        self.dropout = model.dropout

    def run(self, name: str, forward: Callable[..., Result], *inputs: object) -> Result:
        """Call a submodule: what it makes carries its name, and its inputs live until it is done."""
        with self.tape.ledger.inside(name):
            return forward(*inputs)

    def inside(self, name: str) -> Part:
        """A submodule of this one."""
        return Part(self.model, f"{self._prefix}{name}.", self.index)

    def has(self, name: str) -> bool:
        """Whether this module has a tensor of that name in this layer."""
        return self.model.find(self._prefix + name, self.index) is not None

    def weight(self, name: str) -> Tensor:
        """A tensor of this module."""
        stand_in = self.model.stand_ins.get((self._prefix + name, self.index))
        found = stand_in() if stand_in else self.optional(name)
        if found is None:
            raise self._unlike(name)
        return found

    def adapted(self, name: str) -> bool:
        """Whether that tensor carries an adapter."""
        found = self.model.find(self._prefix + name, self.index)
        return found is not None and found.rank > 0

    def factors(self, name: str) -> tuple[Tensor, Tensor, int]:
        """lora_A (r·experts, in) and lora_B (out, r·experts) of a tensor of this module, and r."""
        found = self.model.find(self._prefix + name, self.index)
        if found is None:
            raise self._unlike(name)
        if found.quantized:
            raise Undecided(
                f"how peft adapts quantized {name} is not known", hint=f"use --lora-targets {','.join(ATTENTION_ALONE)}"
            )
        *experts, outputs, inputs = found.group.shape
        ranks, dtype = found.rank * prod(experts), self.model.plan.adapter_dtype or "fp32"
        low = self.model.added(f"{self._prefix}{name}.lora_A", self.index, (ranks, inputs), dtype)
        high = self.model.added(f"{self._prefix}{name}.lora_B", self.index, (outputs, ranks), dtype)
        return low, high, found.rank

    @contextmanager
    def standing_in(self, name: str, stand_in: Callable[[], Tensor]) -> Iterator[None]:
        """Let what a function makes stand for a tensor of this module."""
        key = (self._prefix + name, self.index)
        self.model.stand_ins[key] = stand_in
        try:
            yield
        finally:
            del self.model.stand_ins[key]

    def optional(self, name: str) -> Tensor | None:
        """... or None where it has none."""
        found = self.model.find(self._prefix + name, self.index)
        return None if found is None else self.model.tensor(found, self.index)

    def _unlike(self, name: str) -> Undecided:
        """This model's own code does not name its modules as the form does: older remote code, mostly."""
        return Undecided(
            f"gpufit has no training form for this model: it has no module {self._prefix.replace('{}', 'N')}{name}",
            hint="gpufit replay --train runs the real code where transformers has it",
        )

    def linear(self, name: str, x: Tensor, *, bias_apart: bool = False) -> Tensor:
        """nn.Linear or Conv1D, with its adapter; Falcon's own class adds the bias to the product."""
        with self.tape.ledger.inside(name):
            found = self.model.find(f"{self._prefix}{name}.weight", self.index)
            if found is None:
                raise self._unlike(name)
            if not found.rank:
                return self._base(name, found, x, bias_apart)
            with self.tape.ledger.inside("base_layer"):
                result = self._base(name, found, x, bias_apart)
            return self._adapted(name, found, x, result)

    def _base(self, name: str, found: Weight, x: Tensor, bias_apart: bool) -> Tensor:
        shape = found.group.shape
        bias = self.optional(f"{name}.bias")
        if found.group.module == "conv1d":
            width, inner = shape[-1], shape[-2]
        else:
            width, inner = shape[-2], shape[-1]
        if found.quantized:
            multiply = multiply_8bit if self.model.plan.quant == "bnb-int8" else multiply_4bit
            return multiply(x, width, inner, self.model.plan)
        weight = autocast_weight(self.tape, self.model.tensor(found, self.index))
        given = autocast_input(self.tape, x)
        bias = None if bias is None else autocast_weight(self.tape, bias)
        if found.group.module == "conv1d":  # pytorch_utils.py: addmm of the rows, then a view
            return view(mm(view(given, -1, inner), weight, width, bias), *x.shape[:-1], width)
        if bias_apart and bias is not None:
            return add(linear(given, weight, None, width), bias)
        return linear(given, weight, bias, width)

    def _adapted(self, name: str, found: Weight, x: Tensor, result: Tensor) -> Tensor:
        """peft 0.21.2, tuners/lora/layer.py, Linear.forward: result + B(A(dropout(x)))·scaling, in the base's format.

        lora/bnb.py, Linear4bit.forward, does the same but skips the conversions under autocast.
        """
        plan = self.model.plan
        shape = found.group.shape if found.group.module != "conv1d" else found.group.shape[::-1]
        dtype = plan.adapter_dtype or "fp32"
        base = result.dtype
        bare = found.quantized and self.tape.autocast is not None
        low = self.model.added(f"{self._prefix}{name}.lora_A", self.index, (plan.lora_r, shape[-1]), dtype)
        high = self.model.added(f"{self._prefix}{name}.lora_B", self.index, (shape[-2], plan.lora_r), dtype)
        given = dropout(x if bare else cast(x, dtype), plan.lora_dropout)

        def adapters(y: Tensor) -> Tensor:
            return self._adapter("lora_B", self._adapter("lora_A", y, low), high)

        if plan.dora:
            magnitude = self.model.added(f"{self._prefix}{name}.lora_magnitude_vector", self.index, shape[-2:-1], dtype)
            biased = self.optional(f"{name}.bias") is not None
            update = dora_update(given, adapters, self._whole(found), magnitude, result, biased=biased)
        else:
            update = scale(adapters(given))
        if found.quantized and not bare:
            update = cast(update, base)
        result = add(result, update)
        del update
        return result if found.quantized else cast(result, base)

    def _whole(self, found: Weight) -> Tensor:
        """The base weight as (outputs, inputs): itself, or what dequantize_module_weight writes out."""
        shape = found.group.shape[-2:]
        outputs, inputs = shape[::-1] if found.group.module == "conv1d" else shape
        if found.quantized:
            return self.tape.empty((outputs, inputs), self.model.plan.compute_dtype)
        return self.model.tensor(found, self.index).alias((outputs, inputs))

    def _adapter(self, name: str, x: Tensor, weight: Tensor) -> Tensor:
        with self.tape.ledger.inside(name):
            return linear(
                autocast_input(self.tape, x), autocast_weight(self.tape, weight), None, weight.shape[0]
            )  # fmt: skip

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        """nn.LayerNorm."""
        with self.tape.ledger.inside(name):
            return layer_norm(x, self.optional(f"{name}.weight"), self.optional(f"{name}.bias"))

    def rms_norm(self, name: str, x: Tensor) -> Tensor:
        """LlamaRMSNorm: fp32 inside, weight times the result in the input's format."""
        with self.tape.ledger.inside(name):
            return rms_norm(x, self.weight(f"{name}.weight"))

    def embedding(self, name: str, ids: Tensor, *, scaled: bool = False) -> Tensor:
        """nn.Embedding, times a number where the family's own class does that."""
        with self.tape.ledger.inside(name):
            weight = self.weight(f"{name}.weight")
            out = embedding(ids, weight, weight.shape[-1])
            if scaled:
                out = scale(out)
            plan = self.model.plan
            if plan.trains_adapters and plan.checkpointing != "none" and self._is_input(name):
                self.tape.leaf(out, "inputs")  # enable_input_require_grads
            return out

    def _is_input(self, name: str) -> bool:
        """Whether that embedding is the model's get_input_embeddings()."""
        return name in ("embed_tokens", "wte", "word_embeddings", "embed_in", "shared")


def rms_norm(hidden: Tensor, weight: Tensor) -> Tensor:
    """modeling_llama.py, LlamaRMSNorm.forward."""
    given = hidden.dtype
    x = cast(hidden, "fp32")
    variance = mean(power(x))
    x = mul(x, rsqrt(shift(variance)))
    return mul(weight, cast(x, given))


def rsqrt(x: Tensor) -> Tensor:
    """``rsqrt``."""
    return _function_of_result(x, "rsqrt", temporaries=2)


def autocast_input(tape: Tape, x: Tensor) -> Tensor:
    """Under autocast matrix products take their floating-point inputs in the low format."""
    return cast(x, tape.autocast) if tape.autocast else x


def autocast_weight(tape: Tape, weight: Tensor) -> Tensor:
    """Under autocast a trained fp32 weight is cast once a forward pass (autocast_mode.cpp, cached_cast)."""
    if not tape.autocast or weight.dtype == tape.autocast:
        return weight
    if not isinstance(weight.node, Parameter) or weight.dtype != "fp32":
        return cast(weight, tape.autocast)
    made = tape.cast_weights.get(id(weight))
    if made is None:
        made = tape.cast_weights[id(weight)] = cast(weight, tape.autocast)
    return made


def weights_by_name(architecture: Architecture, plan: TrainingPlan) -> dict[str, list[Weight]]:
    """Every tensor group by name, with what the plan makes of it."""
    adapters = plan.trains_adapters
    ranks = {id(group): rank for group, rank in targeted_groups(architecture, plan)} if adapters else {}
    copied = {id(group) for group in saved_groups(architecture, plan)} if adapters else set()
    weighed = {id(w.group): w for w in weigh_groups(architecture, plan.base_dtype, plan.quant)}
    found: dict[str, list[Weight]] = {}
    for group in architecture.tensors.groups:
        if group.module == "buffer":
            continue
        bytes_of = weighed.get(id(group))
        quantized = bytes_of is not None and bytes_of.quantized_copies > 0
        fp32 = (bytes_of is not None and bytes_of.stays_fp32) or (plan.lifts(group.name) and not quantized)
        trained = group.module != "sines" and (not adapters or id(group) in copied)
        found.setdefault(group.name, []).append(
            Weight(
                group=group, dtype=group.dtype or ("fp32" if fp32 else plan.base_dtype), trained=trained,
                rank=ranks.get(id(group), 0), quantized=quantized,
            )
        )  # fmt: skip
    return found

"""Building blocks of dense decoders: what siblings truly share, and nothing that only one of them has.

A family is a *body*: a function that writes the decoder's tensors (all but the output head) and returns what the
memory room must know of it. ``causal_lm`` turns a body into the family's reader. Vision-language readers call the
same bodies under another prefix.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufit.errors import BadConfig, Undecided
from gpufit.facts.architecture import Architecture, Attention, CacheLayers, Stack, Task
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.dropout import read_dropout
from gpufit.facts.families.windows import FULL as FULL  # the expert and Gemma 4 readers take these from here
from gpufit.facts.families.windows import SLIDING as SLIDING
from gpufit.facts.families.windows import cache_layers
from gpufit.facts.families.windows import every_nth_full as every_nth_full
from gpufit.facts.families.windows import layer_kinds as layer_kinds
from gpufit.facts.families.windows import stated_window as stated_window
from gpufit.facts.tensors import TensorInventory
from gpufit.records import record


@record
class Shape:
    """The dimensions of a decoder whose layers are all alike."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def query_width(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all keys (or values) together."""
        return self.kv_heads * self.head_dim


@record
class Body:
    """A decoder without its output head, whose tensors have already been written."""

    form: str
    stack: Stack
    vocab: int
    cache: tuple[CacheLayers, ...]
    max_context_tokens: int | None
    embedding: str = "embed_tokens"
    embedding_width: int | None = None  # where it is not the hidden size
    notes: tuple[str, ...] = ()


WriteBody = Callable[[Tensors, Config], Body]


def head_size(hidden: int, heads: int) -> int:
    """hidden / heads, which must come out even.

    >>> head_size(4096, 32)
    128
    """
    if hidden % heads:
        raise BadConfig(f"hidden size {hidden} is not a multiple of {heads} attention heads")
    return hidden // heads


def multi_head(hidden: int, layers: int, heads: int) -> Shape:
    """Every query head has its own key and value head.

    >>> multi_head(768, 12, 12).kv_width
    768
    """
    return Shape(hidden=hidden, layers=layers, heads=heads, kv_heads=heads, head_dim=head_size(hidden, heads))


def grouped_query(
    config: Config, *, kv_heads: int | None = None, head_dim: int | None = None, layers: str = "num_hidden_layers"
) -> Shape:
    """Dimensions under Llama's key names; ``kv_heads`` and ``head_dim`` are the family's defaults for absent keys.

    A stated null means Llama's own default in every family. ``layers`` is the key of the layer count.

    >>> config = Config({"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8})
    >>> grouped_query(config, kv_heads=2).kv_width
    16
    """
    hidden = config.size("hidden_size")
    heads = config.layers("num_attention_heads")
    if kv_heads is None or not config.absent("num_key_value_heads"):
        kv_heads = config.layers("num_key_value_heads", heads)
    if head_dim is None or not config.absent("head_dim"):
        head_dim = config.size("head_dim", None) or head_size(hidden, heads)
    if heads % kv_heads:
        raise BadConfig(f"{heads} attention heads cannot share {kv_heads} key-value heads evenly")
    return Shape(
        hidden=hidden, layers=config.layers(layers), heads=heads, kv_heads=kv_heads, head_dim=head_dim
    )  # fmt: skip


def attention(block: Tensors, shape: Shape, *, bias: bool = False, out_bias: bool = False, out: str = "o_proj") -> None:
    """Separate query, key, value and output projections, under ``self_attn``."""
    block.linear("self_attn.q_proj", shape.hidden, shape.query_width, bias=bias, role="attention")
    block.linear("self_attn.k_proj", shape.hidden, shape.kv_width, bias=bias, role="attention")
    block.linear("self_attn.v_proj", shape.hidden, shape.kv_width, bias=bias, role="attention")
    block.linear(f"self_attn.{out}", shape.query_width, shape.hidden, bias=out_bias, role="attention")


def gated_mlp(block: Tensors, hidden: int, width: int, *, bias: bool = False) -> None:
    """down(act(gate(x)) * up(x)), under ``mlp``."""
    block.linear("mlp.gate_proj", hidden, width, bias=bias, role="mlp")
    block.linear("mlp.up_proj", hidden, width, bias=bias, role="mlp")
    block.linear("mlp.down_proj", width, hidden, bias=bias, role="mlp")


def plain_mlp(block: Tensors, up: str, down: str, hidden: int, width: int, *, bias: bool = True) -> None:
    """down(act(up(x))) under the family's own names."""
    block.linear(up, hidden, width, bias=bias, role="mlp")
    block.linear(down, width, hidden, bias=bias, role="mlp")


def rotary_width(config: Config, head_dim: int, default: float = 1.0, key: str = "partial_rotary_factor") -> int:
    """How many of a head's dimensions are rotated: ``int(head_dim × partial_rotary_factor)``.

    transformers reads the factor from ``rope_scaling`` (which replaces ``rope_parameters``), else from the top
    level under ``key``, else takes the family's default (modeling_rope_utils.py, convert_rope_params_to_dict).

    >>> rotary_width(Config({"partial_rotary_factor": 0.5}), 64)
    32
    """
    nested = config.section("rope_scaling") or config.section("rope_parameters")
    factor = nested.number("partial_rotary_factor", None) if nested else None
    if factor is None:
        factor = config.number(key, default)
    width = int(head_dim * factor)
    if not 0 < width <= head_dim:
        raise BadConfig(f"rotary factor {factor} leaves {width} of {head_dim} dimensions to rotate")
    return width


def rotary(t: Tensors, width: int, name: str = "rotary_emb", *, layer_type: str = "") -> None:
    """The rotary table's two buffers: inverse frequencies in use, and as they were before rescaling."""
    kind = f"{layer_type}_" if layer_type else ""
    t.buffer(f"{name}.{kind}inv_freq", ((width + 1) // 2,), "fp32")
    t.buffer(f"{name}.{kind}original_inv_freq", ((width + 1) // 2,), "fp32")


def body(
    config: Config,
    shape: Shape,
    *,
    form: str,
    width: int,
    gated: bool,
    rope: int = 0,
    kinds: tuple[str, ...] | None = None,
    window: int | None = None,
    max_context: str = "max_position_embeddings",
    vocab: str = "vocab_size",
    embedding: str = "embed_tokens",
    embedding_width: int | None = None,
    cached_heads: int | None = None,
    notes: tuple[str, ...] = (),
) -> Body:
    """Put a decoder's facts together; ``max_context`` and ``vocab`` are the keys that hold them.

    ``cached_heads`` is set where the cache keeps other heads than were projected.
    """
    if kinds is None and "layer_types" in config:
        kinds = layer_kinds(config, shape.layers, ())
    cache = cache_layers(shape.layers, cached_heads or shape.kv_heads, shape.head_dim, kinds, window)
    return Body(
        form=form,
        stack=Stack(
            role="decoder", layers=shape.layers, hidden=shape.hidden, mlp_width=width, gated=gated,
            attention=Attention(
                heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim, value_dim=shape.head_dim,
                rope_dim=rope, window_tokens=window if cache[-1].kind == "sliding" else None,
            ),
        ),
        vocab=config.size(vocab),
        cache=cache,
        max_context_tokens=config.size(max_context, None),
        embedding=embedding,
        embedding_width=embedding_width,
        notes=notes,
    )  # fmt: skip


def causal_lm(
    write: WriteBody,
    model_class: str,
    *,
    base: str = "model",
    tied: bool = False,
    head: str = "lm_head",
    head_bias: bool = False,
) -> Callable[[Config], Architecture]:
    """The reader of a family: its body under ``base``, then the head that ``architectures`` asks for.

    ``model_class`` is the causal language model; the bare model (``...Model``, saved by embedding checkpoints) has
    neither prefix nor head, ``...ForSequenceClassification`` has a ``score`` head. ``tied`` is the family's default.
    """
    stem = model_class.removesuffix("ForCausalLM").removesuffix("LMHeadModel")

    def read(config: Config) -> Architecture:
        asked = config.model_class(model_class)
        t = Tensors()
        task: Task = "causal-lm"
        output: str | None = None
        if asked == f"{stem}Model":
            task = "embedding"
            facts = write(t, config)
        else:
            facts = write(t.under(base), config)
            width = facts.embedding_width or facts.stack.hidden
            if asked == f"{stem}ForSequenceClassification":
                task = "encoder"
                t.linear("score", width, count_labels(config), role="head")
            elif asked.endswith(("ForCausalLM", "LMHeadModel")):
                asked = model_class  # whatever a fork calls it, the model_type decides what is loaded
                output = f"{head}.weight"
                owner = f"{base}.{facts.embedding}.weight" if config.flag("tie_word_embeddings", tied) else None
                t.linear(head, width, facts.vocab, bias=head_bias, role="output", tied_to=owner)
            else:
                raise Undecided(
                    f"gpufit does not know the head of {asked[:60]}", hint=f"it knows {model_class} and {stem}Model"
                )
        return assemble(config, facts, t, model_class=asked, task=task, output=output)

    return read


def count_labels(config: Config) -> int:
    """Outputs of a classification head: the entries of ``id2label``, else ``num_labels``, else two."""
    labels = config.raw("id2label")
    if isinstance(labels, dict) and 0 < len(labels) <= 1 << 20:
        return len(labels)
    count: int = config.size("num_labels", 2)
    return count


def assemble(
    config: Config, facts: Body, t: Tensors, *, model_class: str, task: Task = "causal-lm", output: str | None = None
) -> Architecture:
    """The record, once all tensors are written."""
    quantization = config.section("quantization_config")
    return Architecture(
        model_type=config.text("model_type"),
        model_class=model_class,
        task=task,
        form=facts.form,
        stacks=(facts.stack,),
        vocab_size=facts.vocab,
        tensors=TensorInventory(groups=tuple(t.groups), output=output),
        cache=facts.cache,
        max_context_tokens=facts.max_context_tokens,
        dtype=config.text("dtype", config.text("torch_dtype", None)),
        dropout=read_dropout(config),
        config_quantization=quantization.text("quant_method", "bitsandbytes") if quantization else None,
        provenance=tuple((key, str(value)) for key, value in config.seen.items()),
        notes=facts.notes,
    )

"""What a model is: the record that family readers fill and that the memory room does arithmetic on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gpufit.facts.dropout import Dropout
from gpufit.facts.tensors import TensorInventory
from gpufit.records import record

if TYPE_CHECKING:
    from gpufit.facts.stored import StoredWeights

Task = Literal["causal-lm", "seq2seq", "encoder", "embedding", "vision-language", "speech", "vision"]
StackRole = Literal["decoder", "encoder", "vision", "audio", "text"]
CacheKind = Literal["full", "sliding", "chunked", "latent", "cross", "state", "shared"]


@record
class StateTensor:
    """A fixed-size tensor kept per sequence by a recurrent layer (convolution window, SSM state)."""

    name: str
    shape: tuple[int, ...]  # without the batch dimension
    dtype: str | None = None  # None: the model's dtype


@record
class CacheLayers:
    """Layers that cache alike.

    Per token a ``full``, ``sliding``, ``chunked`` or ``cross`` layer keeps ``kv_heads × (key_dim + value_dim)``
    elements; a ``latent`` layer's ``key_dim`` and ``value_dim`` are the widths of the two tensors it really stores,
    with ``kv_heads`` = 1 where it stores the compressed form. ``window_tokens`` bounds ``sliding`` and ``chunked``.
    A ``shared`` layer reuses another layer's cache and adds nothing. ``state`` layers keep ``state`` tensors instead.
    """

    kind: CacheKind
    layers: int
    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window_tokens: int | None = None
    state: tuple[StateTensor, ...] = ()
    index_dim: int = 0  # a sparse attention's indexer key, one per token beside keys and values
    followed_by: int = 0  # layers of other kinds behind the last of these, where a family's reader knows the order
    tokens_per_entry: int = 1  # more than 1 where one cached entry stands for that many tokens (compressed attention)

    @property
    def elements_per_token(self) -> int:
        """Elements that one layer keeps for one token of one sequence."""
        return self.kv_heads * (self.key_dim + self.value_dim) + self.index_dim


@record
class Attention:
    """Dimensions of one attention layer. ``query_rank``/``kv_rank``/``rope_dim`` are MLA's, 0 elsewhere."""

    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    query_rank: int = 0
    kv_rank: int = 0
    rope_dim: int = 0  # MLA: decoupled rotary part of a head; else the rotary width, 0 for none
    window_tokens: int | None = None


@record
class Experts:
    """A mixture of experts: ``count`` routed, ``per_token`` of them used, each ``width`` wide."""

    count: int
    per_token: int
    width: int
    shared_width: int = 0


@record
class Mixer:
    """A recurrent token mixer (Mamba, Mamba-2, gated delta net, ...): its widths as the family names them."""

    kind: str
    inner: int
    state: int
    conv: int
    heads: int = 0
    head_dim: int = 0
    groups: int = 1
    time_rank: int = 0
    key_heads: int = 0
    key_dim: int = 0
    chunk: int = 0  # tokens that a scan takes at once; 0 where it goes token by token


@record
class Stack:
    """One run of transformer blocks: the decoder, the encoder, a vision or audio tower.

    Hybrid stacks fill every part they use. ``positions`` is the fixed sequence length of a tower (patches, frames);
    0 where the workload decides. ``gated`` says whether the MLP has a gate projection beside the up projection,
    ``fp32_residual`` whether the residual stream is kept in fp32.
    """

    role: StackRole
    layers: int
    hidden: int
    attention: Attention | None = None
    mlp_width: int = 0
    gated: bool = False
    experts: Experts | None = None
    mixer: Mixer | None = None
    positions: int = 0
    fp32_residual: bool = False
    picture_tokens: int = 0  # tokens that one picture of a tower becomes in the text; 0: not known, or no tower
    activation: str = ""  # the MLP's, where memory depends on it: quick_gelu is no single kernel


@record(eq=False)
class Architecture:
    """Everything gpufit knows of a model. Pure facts: no workload, no device.

    Compared and hashed by identity, so that results can be remembered per model at no cost.

    ``form`` names the activation formulas that apply (see ``gpufit.memory.activations``); ``stacks`` starts with the
    one that generates text, or the only one. ``max_context_tokens`` is None where the design sets no bound.
    ``dtype`` is the checkpoint's own. ``provenance`` maps a fact to the config key that it was read from.
    ``unknown_rows`` is empty for every family that has a reader.
    """

    model_type: str
    model_class: str
    task: Task
    form: str
    stacks: tuple[Stack, ...]
    vocab_size: int
    tensors: TensorInventory
    cache: tuple[CacheLayers, ...] = ()
    max_context_tokens: int | None = None
    dtype: str | None = None
    stored: StoredWeights | None = None  # a checkpoint's own tensors, where its headers were read
    dropout: Dropout = Dropout()
    config_quantization: str | None = None  # quant_method of an already quantized checkpoint
    provenance: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    unknown_rows: tuple[str, ...] = ()  # rows of the breakdown that these facts do not decide

    @property
    def parameters(self) -> int:
        """Distinct parameters, tied ones once."""
        return self.tensors.parameters

    @property
    def generates(self) -> bool:
        """Whether the model decodes token by token (and so has a prefill and a decode phase)."""
        return self.task in ("causal-lm", "seq2seq", "vision-language", "speech")

    @property
    def has_one_length(self) -> bool:
        """Whether the model sees pictures of one size and nothing else, so that no context can be chosen."""
        return self.task == "vision" and self.max_context_tokens is None

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether an encoder takes the prompt and feeds the decoder by cross-attention (a picture tower takes none)."""
        return any(layers.kind == "cross" for layers in self.cache) and self.stack("encoder") is not None

    def stack(self, role: StackRole) -> Stack | None:
        """The stack of that role, or None."""
        return next((stack for stack in self.stacks if stack.role == role), None)

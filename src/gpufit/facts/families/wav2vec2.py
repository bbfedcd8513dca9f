"""wav2vec 2.0 and HuBERT: convolutions over the waveform, then an encoder over the frames.

Mirrors transformers 5.23.0, models/{wav2vec2,hubert}/modeling_*.py. Neither decodes token by token: they keep no cache.
"""

from __future__ import annotations

from gpufit.errors import BadConfig, UnknownFamily
from gpufit.facts.architecture import Architecture, Stack
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.encoder_heads import dense
from gpufit.facts.families.record import even_attention, finish, head_of, labels, unknown_class

_DIMS, _KERNELS = (512,) * 7, (10, 3, 3, 3, 3, 2, 2)


def read(config: Config) -> Architecture:
    """Wav2Vec2Config -> Wav2Vec2Model, ForCTC, ForPreTraining, ForSequenceClassification, ForAudioFrame..."""
    heads = ("Model", "ForCTC", "ForPreTraining", "ForSequenceClassification", "ForAudioFrameClassification")
    return _read(config, "Wav2Vec2", heads)


def read_hubert(config: Config) -> Architecture:
    """HubertConfig -> HubertModel, ForCTC, ForSequenceClassification."""
    return _read(config, "Hubert", ("Model", "ForCTC", "ForSequenceClassification"))


def _read(config: Config, family: str, heads: tuple[str, ...]) -> Architecture:
    model_class, head = head_of(config, family, "Model")
    if head not in heads:
        raise unknown_class(config, model_class)
    t = Tensors()
    stack = _stack(config)
    hidden, base = stack.hidden, t if head == "Model" else t.under(family.lower())
    if head in ("ForSequenceClassification", "ForAudioFrameClassification"):
        _layer_weights(t, config, stack.layers)
    if config.number("mask_time_prob", 0.05) > 0 or config.number("mask_feature_prob", 0) > 0:
        base.add("masked_spec_embed", (hidden,), "parameter", "audio")
    frames = _waveform(base.under("feature_extractor"), config)
    if config.flag("feat_proj_layer_norm", True) or family == "Wav2Vec2":
        base.norm("feature_projection.layer_norm", frames, bias=True)
    base.linear("feature_projection.projection", frames, hidden, bias=True, role="audio")
    _encoder(base.under("encoder"), config, stack, batch_norm=family == "Hubert")
    width = _adapter(base.under("adapter"), config, hidden) if family == "Wav2Vec2" else hidden
    vocab = 0
    if head == "ForCTC":
        vocab = config.size("vocab_size", 32)
        dense(t, "lm_head", width, vocab)
    elif head == "ForPreTraining":
        _quantizer(t, config, hidden, frames)
    elif head != "Model":
        _classifier(t, config, head, hidden, adapted=family == "Wav2Vec2" and config.flag("add_adapter", False))
    return finish(
        config, t, model_class=model_class, task="encoder", form="wav2vec2", stacks=(stack,), vocab_size=vocab
    )


def _stack(config: Config) -> Stack:
    hidden = config.size("hidden_size", 768)
    return Stack(
        role="encoder", layers=config.layers("num_hidden_layers", 12), hidden=hidden,
        mlp_width=config.size("intermediate_size", 3072),
        attention=even_attention(config, hidden, config.layers("num_attention_heads", 12)),
    )  # fmt: skip


def _sizes(config: Config, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
    sizes = config.list(key, default)
    if not sizes or any(type(size) is not int or not 1 <= size <= 1 << 20 for size in sizes):
        raise BadConfig(f"config key {key} is not a list of sizes")
    return tuple(sizes)


def _waveform(t: Tensors, config: Config) -> int:
    """The convolutions that make frames of samples, and the frames' width."""
    dims, kernels = _sizes(config, "conv_dim", _DIMS), _sizes(config, "conv_kernel", _KERNELS)
    if len(dims) != len(kernels):
        raise BadConfig(f"conv_dim names {len(dims)} convolutions and conv_kernel {len(kernels)}")
    kind, bias = config.text("feat_extract_norm", "group"), config.flag("conv_bias", False)
    if kind not in ("group", "layer"):
        raise BadConfig(f"config key feat_extract_norm = {kind[:40]!r} is neither group nor layer")
    for i, (inputs, outputs, kernel) in enumerate(zip((1, *dims), dims, kernels, strict=False)):
        layer = t.under(f"conv_layers.{i}")
        layer.add("conv.weight", (outputs, inputs, kernel), "conv", "audio")
        if bias:
            layer.add("conv.bias", (outputs,), "conv", "audio")
        if kind == "layer" or i == 0:  # "group" normalizes after the first one alone
            layer.norm("layer_norm", outputs, bias=True)
    return dims[-1]


def _encoder(t: Tensors, config: Config, stack: Stack, *, batch_norm: bool) -> None:
    hidden = stack.hidden
    kernel, groups = config.size("num_conv_pos_embeddings", 128), config.size("num_conv_pos_embedding_groups", 16)
    if hidden % groups:
        raise BadConfig(f"hidden_size {hidden} is not a multiple of num_conv_pos_embedding_groups {groups}")
    positions = t.under("pos_conv_embed")
    positions.add("conv.bias", (hidden,), "conv", "audio")
    if batch_norm and config.flag("conv_pos_batch_norm", False):
        positions.add("conv.weight", (hidden, hidden // groups, kernel), "conv", "audio")
        positions.norm("batch_norm", hidden, bias=True)
        for name in ("running_mean", "running_var"):
            positions.add(f"batch_norm.{name}", (hidden,), "buffer", "audio")
        positions.add("batch_norm.num_batches_tracked", (), "buffer", "audio", dtype="int64")
    else:  # weight norm keeps a length and a direction for the one weight
        weight = positions.under("conv.parametrizations.weight")
        weight.add("original0", (1, 1, kernel), "parameter", "audio")
        weight.add("original1", (hidden, hidden // groups, kernel), "parameter", "audio")
    t.norm("layer_norm", hidden, bias=True)
    block = t.blocks("layers", stack.layers)
    for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
        block.linear(f"attention.{name}", hidden, hidden, bias=True, role="attention")
    block.norm("layer_norm", hidden, bias=True)
    block.linear("feed_forward.intermediate_dense", hidden, stack.mlp_width, bias=True, role="mlp")
    block.linear("feed_forward.output_dense", stack.mlp_width, hidden, bias=True, role="mlp")
    block.norm("final_layer_norm", hidden, bias=True)
    narrow = config.size("adapter_attn_dim", None)
    if narrow is not None and config.flag("do_stable_layer_norm", False):
        block.norm("adapter_layer.norm", hidden, bias=True)
        block.linear("adapter_layer.linear_1", hidden, narrow, bias=True, role="mlp")
        block.linear("adapter_layer.linear_2", narrow, hidden, bias=True, role="mlp")


def _adapter(t: Tensors, config: Config, hidden: int) -> int:
    """Convolutions that shorten the encoder's output where ``add_adapter``; the width that the head sees."""
    if not config.flag("add_adapter", False):
        return hidden
    width: int = config.size("output_hidden_size", hidden)
    if width != hidden:
        t.linear("proj", hidden, width, bias=True, role="audio")
        t.norm("proj_layer_norm", width, bias=True)
    layer = t.blocks("layers", config.layers("num_adapter_layers", 3))
    layer.add("conv.weight", (2 * width, width, config.size("adapter_kernel_size", 3)), "conv", "audio")
    layer.add("conv.bias", (2 * width,), "conv", "audio")
    return width


def _quantizer(t: Tensors, config: Config, hidden: int, frames: int) -> None:
    """The code book that pretraining picks from, and both projections into its space."""
    groups, entries = config.layers("num_codevector_groups", 2), config.size("num_codevectors_per_group", 320)
    code, shared = config.size("codevector_dim", 256), config.size("proj_codevector_dim", 256)
    if code % groups:
        raise BadConfig(f"codevector_dim {code} is not a multiple of num_codevector_groups {groups}")
    t.add("quantizer.codevectors", (1, groups * entries, code // groups), "parameter", "head")
    dense(t, "quantizer.weight_proj", frames, groups * entries)
    dense(t, "project_hid", hidden, shared)
    dense(t, "project_q", code, shared)


def _layer_weights(t: Tensors, config: Config, layers: int) -> None:
    if config.flag("use_weighted_layer_sum", False):
        t.add("layer_weights", (layers + 1,), "parameter", "head")


def _classifier(t: Tensors, config: Config, head: str, hidden: int, *, adapted: bool) -> None:
    if adapted:
        raise UnknownFamily(f"wav2vec2 {head} with an adapter")
    if head == "ForSequenceClassification":
        dense(t, "projector", hidden, hidden := config.size("classifier_proj_size", 256))
    dense(t, "classifier", hidden, labels(config))

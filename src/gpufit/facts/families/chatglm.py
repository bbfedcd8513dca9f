"""ChatGLM 2 and 3, GLM-4-9B: the original checkpoints, with their own code.

transformers 5.23.0 has no class for ``chatglm`` (GLM-4 under its classes is ``glm``). The layout follows the
checkpoint's own modeling_chatglm.py as publicly known (THUDM/chatglm3-6b: 6 243 584 000 parameters). The first
ChatGLM-6B shares the model_type and none of the keys; it ends as a BadConfig.
"""

from __future__ import annotations

from gpufit.errors import BadConfig, Undecided
from gpufit.facts.architecture import Architecture
from gpufit.facts.builder import Tensors
from gpufit.facts.config import Config
from gpufit.facts.families.dense import Body, Shape, assemble, body
from gpufit.facts.families.remote import NOTE


def read(config: Config) -> Architecture:
    """ChatGLMConfig -> ChatGLMForConditionalGeneration, which ``architectures`` calls ChatGLMModel."""
    t = Tensors()
    facts = write(t.under("transformer"), config)
    return assemble(
        config, facts, t, model_class="ChatGLMForConditionalGeneration", output="transformer.output_layer.weight"
    )


def write(t: Tensors, config: Config) -> Body:
    """ChatGLMModel: here the output layer belongs to the body."""
    if not (config.flag("rmsnorm", True) and config.flag("post_layer_norm", True)):
        raise Undecided("gpufit knows ChatGLM only with RMSNorm and a final norm")
    hidden, heads = config.size("hidden_size"), config.layers("num_attention_heads")
    shape = Shape(
        hidden=hidden, layers=config.layers("num_layers"), heads=heads, head_dim=config.size("kv_channels"),
        kv_heads=config.layers("multi_query_group_num") if config.flag("multi_query_attention", False) else heads,
    )  # fmt: skip
    if heads % shape.kv_heads:
        raise BadConfig(f"{heads} attention heads cannot share {shape.kv_heads} key-value heads evenly")
    width = config.size("ffn_hidden_size")
    vocab = config.size("padded_vocab_size")
    bias = config.flag("add_bias_linear", False)
    qkv_bias = bias or config.flag("add_qkv_bias", False)

    t.embedding("embedding.word_embeddings", vocab, hidden)
    t.add("rotary_pos_emb.inv_freq", ((shape.head_dim // 2 + 1) // 2,), "buffer", "attention")  # half of each head
    block = t.blocks("encoder.layers", shape.layers)
    block.norm("input_layernorm", hidden)
    block.linear(
        "self_attention.query_key_value", hidden, shape.query_width + 2 * shape.kv_width,
        bias=qkv_bias, role="attention",
    )  # fmt: skip
    block.linear("self_attention.dense", shape.query_width, hidden, bias=bias, role="attention")
    block.norm("post_attention_layernorm", hidden)
    block.linear("mlp.dense_h_to_4h", hidden, 2 * width, bias=bias, role="mlp")
    block.linear("mlp.dense_4h_to_h", width, hidden, bias=bias, role="mlp")
    t.norm("encoder.final_layernorm", hidden)
    t.linear("output_layer", hidden, vocab, role="output")
    return body(
        config, shape, form="glm", width=width, gated=True, rope=shape.head_dim // 2, max_context="seq_length",
        vocab="padded_vocab_size", embedding="embedding.word_embeddings", notes=(NOTE,),
    )  # fmt: skip

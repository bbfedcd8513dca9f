"""Every dense decoder's reader against transformers' own classes, on shrunken configurations.

The shrunken dimensions are all different, so that a head size, a key-value head count, a bias or a tie taken from the
wrong key shows. Families that transformers does not ship are held against their published parameter counts.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.errors import BadConfig, GpufitError, Undecided
from gpufit.facts.architecture import Architecture
from gpufit.facts.families import READERS
from gpufit.facts.read import parse_config

SHARED = Path(__file__).parents[3] / "shared" / "configs"
DENSE = (
    "llama", "mistral", "ministral", "ministral3", "qwen2", "granite", "smollm3", "internlm3", "seed_oss", "ernie4_5",
    "helium", "diffllama", "qwen3", "hunyuan_v1_dense", "exaone4", "gemma", "gemma2", "gemma3_text", "olmo", "olmo2",
    "olmo3", "cohere", "cohere2", "glm", "glm4", "phi", "phi3", "starcoder2", "nemotron", "arcee", "stablelm", "gpt2",
    "gpt_bigcode", "gptj", "codegen", "gpt_neo", "gpt_neox", "opt", "bloom", "mpt", "falcon",
)  # fmt: skip
REMOTE = ("internlm2", "minicpm", "orion", "baichuan", "chatglm", "nemotron-nas", "phi3_v")

IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LLAMA = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 101, "max_position_embeddings": 64, "rope_theta": 10000.0, **IDS,
}  # fmt: skip
BIASED = {"attention_bias": True, "mlp_bias": True}
GPT = {"n_embd": 48, "n_layer": 3, "n_head": 6, "n_positions": 40, "vocab_size": 101, **IDS}
NEO = {"hidden_size": 48, "num_layers": 4, "num_heads": 6, "max_position_embeddings": 40, "vocab_size": 101, **IDS}
OPT = {
    "hidden_size": 48, "ffn_dim": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 101,
    "max_position_embeddings": 40, **IDS,
}  # fmt: skip
FALCON = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": 101, **IDS}
BARE = {key: LLAMA[key] for key in LLAMA if key != "num_key_value_heads"}  # the family's own default of heads

CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", LLAMA, {}),
    ("llama", LLAMA, {**BIASED, "tie_word_embeddings": True, "head_dim": 10}),
    ("llama", LLAMA, {"num_key_value_heads": None, "head_dim": None}),
    ("llama", LLAMA, {"architectures": ["LlamaModel"]}),
    ("llama", LLAMA, {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}}),
    ("llama", LLAMA, {"sliding_window": 5}),
    ("mistral", LLAMA, {"sliding_window": 5}),
    ("mistral", BARE, {"num_attention_heads": 16, "sliding_window": None, "head_dim": 10}),
    ("mistral", LLAMA, {}),
    ("ministral", LLAMA, {"layer_types": ["sliding_attention", "full_attention", "full_attention"], "head_dim": 10}),
    ("ministral", LLAMA, {"sliding_window": 5, "head_dim": 8}),
    ("ministral3", LLAMA, {}),
    ("ministral3", LLAMA, {"head_dim": 10, "sliding_window": 5}),
    ("qwen2", LLAMA, {"sliding_window": 5}),
    ("qwen2", LLAMA, {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    ("qwen2", LLAMA, {"tie_word_embeddings": True, "architectures": ["Qwen2Model"]}),
    ("granite", LLAMA, BIASED),
    ("granite", LLAMA, {"tie_word_embeddings": True}),
    ("smollm3", LLAMA, {}),
    ("smollm3", LLAMA, {**BIASED, "use_sliding_window": True, "sliding_window": 5, "no_rope_layers": [1, 0, 1]}),
    ("internlm3", LLAMA, {"head_dim": 10}),
    ("internlm3", LLAMA, {"qkv_bias": True, "bias": True}),
    ("seed_oss", LLAMA, {"head_dim": 10}),
    ("seed_oss", LLAMA, {"attention_bias": False, "attention_out_bias": True, "mlp_bias": True}),
    ("ernie4_5", LLAMA, {"head_dim": 10}),
    ("ernie4_5", LLAMA, {"use_bias": True, "tie_word_embeddings": False}),
    ("helium", LLAMA, {"head_dim": 8, **BIASED}),
    ("diffllama", LLAMA, {"head_dim": 8}),
    ("diffllama", LLAMA, {"attention_bias": True}),
    ("qwen3", LLAMA, {}),
    ("qwen3", LLAMA, {"head_dim": 10, "attention_bias": True, "tie_word_embeddings": True}),
    ("qwen3", LLAMA, {"architectures": ["Qwen3Model"]}),
    ("hunyuan_v1_dense", LLAMA, {"head_dim": 10, "attention_bias": True}),
    ("exaone4", LLAMA, {"sliding_window": 5, "sliding_window_pattern": 2}),
    ("exaone4", LLAMA, {"sliding_window": None, "layer_types": ["full_attention"] * 3}),
    ("gemma", LLAMA, {"head_dim": 10}),
    ("gemma", LLAMA, {"attention_bias": True, "tie_word_embeddings": False}),
    ("gemma2", LLAMA, {"head_dim": 10, "sliding_window": 5}),
    ("gemma3_text", LLAMA, {"head_dim": 10, "sliding_window": 5, "sliding_window_pattern": 3}),
    ("gemma3_text", LLAMA, {"head_dim": 10, "sliding_window": 7, "use_bidirectional_attention": True}),
    ("olmo", LLAMA, {"attention_bias": True}),
    ("olmo2", LLAMA, {"attention_bias": True}),
    ("olmo3", LLAMA, {"num_hidden_layers": 4, "sliding_window": 5}),
    ("cohere", LLAMA, {}),
    ("cohere", LLAMA, {"use_qk_norm": True, "attention_bias": True}),
    ("cohere2", LLAMA, {"num_hidden_layers": 4, "sliding_window": 5, "head_dim": 10}),
    ("cohere2", LLAMA, {"sliding_window": 5, "sliding_window_pattern": 2, "attention_bias": True}),
    ("glm", LLAMA, {"head_dim": 10}),
    ("glm", LLAMA, {"attention_bias": False, "partial_rotary_factor": 0.25}),
    (
        "glm",
        LLAMA,
        {
            "partial_rotary_factor": 0.5,
            "rope_scaling": {"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.25},
        },
    ),
    ("glm", LLAMA, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.75}}),
    ("glm4", LLAMA, {"head_dim": 10, "tie_word_embeddings": True}),
    ("phi", LLAMA, {}),
    ("phi", LLAMA, {"qk_layernorm": True, "partial_rotary_factor": 0.25}),
    ("phi3", LLAMA, {"sliding_window": 5}),
    ("phi3", LLAMA, {"partial_rotary_factor": 0.75, "tie_word_embeddings": True}),
    ("starcoder2", LLAMA, {"sliding_window": 5}),
    ("starcoder2", LLAMA, {"use_bias": False, "tie_word_embeddings": False}),
    ("nemotron", LLAMA, {"head_dim": 10}),
    ("nemotron", LLAMA, BIASED),
    ("arcee", LLAMA, {"head_dim": 10, **BIASED}),
    ("stablelm", LLAMA, {"use_qkv_bias": True}),
    ("stablelm", LLAMA, {"qk_layernorm": True, "use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    ("gpt2", GPT, {}),
    ("gpt2", GPT, {"n_inner": 72, "tie_word_embeddings": False}),
    ("gpt2", GPT, {"architectures": ["GPT2Model"]}),
    ("gpt2", GPT, {"architectures": ["GPT2ForSequenceClassification"], "num_labels": 3}),
    ("gpt_bigcode", GPT, {}),
    ("gpt_bigcode", GPT, {"multi_query": False, "n_inner": 72}),
    ("gptj", GPT, {"rotary_dim": 4}),
    ("codegen", GPT, {"rotary_dim": 4, "n_head": 4}),
    ("gpt_neo", NEO, {"attention_types": [[["global", "local"], 2]], "window_size": 5}),
    ("gpt_neox", LLAMA, {"rotary_pct": 0.5}),
    ("gpt_neox", LLAMA, {"attention_bias": False, "tie_word_embeddings": True}),
    ("opt", OPT, {}),
    ("opt", OPT, {"word_embed_proj_dim": 24, "do_layer_norm_before": False}),
    ("opt", OPT, {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    ("opt", OPT, {"architectures": ["OPTForSequenceClassification"], "word_embed_proj_dim": 24}),
    ("bloom", {"hidden_size": 48, "n_layer": 3, "n_head": 6, "vocab_size": 101, **IDS}, {"seq_length": 64}),
    ("mpt", {"d_model": 48, "n_layers": 3, "n_heads": 6, "vocab_size": 101, "max_seq_len": 64, **IDS}, {}),
    ("falcon", FALCON, {}),
    ("falcon", FALCON, {"multi_query": False, "bias": True, "alibi": True, "parallel_attn": False}),
    ("falcon", FALCON, {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 72}),
    ("falcon", FALCON, {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
]


def _raw(model_type: str, base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": model_type, **base, **extra}


def _id(case: tuple[str, dict[str, Any], dict[str, Any]]) -> str:
    return f"{case[0]}-{'-'.join(case[2]) or 'plain'}"


def test_every_dense_family_has_a_case() -> None:
    """No family is registered without being held against transformers or a published count."""
    assert {model_type for model_type, _, _ in CASES} == set(DENSE)
    assert set(DENSE) | set(REMOTE) <= set(READERS)


@pytest.mark.real
@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_tensors_are_those_of_transformers(case: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Names, shapes, ties, buffers, module kinds and the output embedding are exactly the library's."""
    pytest.importorskip("transformers", reason="needs transformers to build the model that the reader mirrors")
    import compare
    import oracle

    raw = _raw(*case)
    ours = parse_config(raw)
    assert compare.differences(ours, oracle.build(raw, ours.model_class)) == []


@pytest.mark.real
@pytest.mark.parametrize("case", [case for case in CASES if "Classification" not in str(case)], ids=_id)
def test_the_cache_is_the_one_that_a_forward_fills(case: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Per layer: heads, key and value widths, and whether and how far it slides, after 12 real tokens."""
    torch = pytest.importorskip("torch", reason="needs torch to run the shrunken model")
    transformers = pytest.importorskip("transformers", reason="needs transformers to fill a real cache")
    raw = _raw(*case)
    ours = parse_config(raw)
    drop = {"model_type", "architectures"}
    config = transformers.AutoConfig.for_model(raw["model_type"], **{k: v for k, v in raw.items() if k not in drop})
    model = getattr(transformers, ours.model_class)(config).eval()
    with torch.no_grad():
        cache = model(torch.full((1, 12), 7), use_cache=True).past_key_values
    real = Counter(
        (layer.sliding_window if layer.is_sliding else None, layer.keys.shape[1], layer.keys.shape[3],
         layer.values.shape[3])
        for layer in cache.layers
    )  # fmt: skip
    stated = Counter()
    for group in ours.cache:
        assert (group.window_tokens is not None) == (group.kind == "sliding")
        stated[group.window_tokens, group.kv_heads, group.key_dim, group.value_dim] += group.layers
    assert stated == real


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference configurations do not lie beside the repository")
def test_the_published_totals_are_met() -> None:
    """Some 190 published configurations, without torch: what is counted is the recomputed and the published total.

    Where these two differ the reference itself says why (a tied head stored twice, buffers counted as parameters).
    """
    with (SHARED / "INDEX.csv").open(newline="", encoding="utf-8") as index:
        rows = [row for row in csv.DictReader(index) if row["model_type"] in DENSE + REMOTE]
    wrong = []
    for row in rows:
        counted = parse_config(json.loads((SHARED / row["file"]).read_text(encoding="utf-8"))).parameters
        published = re.match(r"\d+(?![\dM])", row["published_param_count"])
        explained = re.search("published total|keras count differs", row["note"])
        if row["computed_param_count"] and int(row["computed_param_count"]) != counted:
            wrong.append((row["file"], counted, row["computed_param_count"]))
        if published and int(published[0]) != counted and not explained:
            wrong.append((row["file"], counted, published[0]))
    assert len(rows) > 180
    assert wrong == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reference configurations do not lie beside the repository")
@pytest.mark.parametrize(
    ("file", "parameters"),
    [
        ("nvidia__Llama-3_3-Nemotron-Super-49B-v1.json", 49_867_145_216),  # the model card's safetensors total
        ("microsoft__Phi-3.5-vision-instruct.json", 4_146_621_440),  # the model card's safetensors total
        ("THUDM__chatglm3-6b.json", 6_243_584_000),
        ("baichuan-inc__Baichuan2-7B-Chat.json", 7_505_973_248),
        ("internlm__internlm2-chat-7b.json", 7_737_708_544),
    ],
)
def test_checkpoints_with_their_own_code_are_counted(file: str, parameters: int) -> None:
    """Families without a class in transformers meet their published totals."""
    assert parse_config(json.loads((SHARED / file).read_text(encoding="utf-8"))).parameters == parameters


def _llama2_7b(**changes: Any) -> Architecture:
    return parse_config({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096, **changes,
    })  # fmt: skip


def test_llama_2_7b_by_hand() -> None:
    """6 738 415 616 parameters; 2 × 32 layers × 4096 × 2 bytes = 524 288 bytes of fp16 cache a token."""
    model = _llama2_7b()
    assert model.parameters == 6_738_415_616
    assert sum(group.layers * group.elements_per_token for group in model.cache) * 2 == 524_288


def test_a_null_window_differs_from_an_absent_one() -> None:
    """Mistral's class slides by default; null in the file turns it off (v0.3), a number sets it (v0.1)."""
    base = _raw("mistral", LLAMA, {})
    assert [g.window_tokens for g in parse_config(base).cache] == [4096]
    assert [g.kind for g in parse_config({**base, "sliding_window": None}).cache] == ["full"]


def test_falcon_40b_caches_every_query_head() -> None:
    """The new decoder architecture broadcasts 8 key-value heads to 128 before it caches them; 7B keeps one."""
    new = _raw("falcon", FALCON, {"new_decoder_architecture": True, "num_kv_heads": 2})
    assert parse_config(new).cache[0].kv_heads == 6
    assert parse_config(_raw("falcon", FALCON, {})).cache[0].kv_heads == 1


def test_an_unknown_head_is_undecided() -> None:
    """A class that is neither the causal model, nor bare, nor a classifier is never guessed at."""
    with pytest.raises(Undecided, match="LlamaBidirectionalModel"):
        _llama2_7b(architectures=["LlamaBidirectionalModel"])


def test_a_forks_class_name_loads_as_the_familys() -> None:
    """Old checkpoints say LLaMAForCausalLM; the model_type decides what transformers loads."""
    assert _llama2_7b(architectures=["LLaMAForCausalLM"]).model_class == "LlamaForCausalLM"


NAS_BLOCK = {"attention": {"n_heads_in_group": 3, "no_op": False}, "ffn": {"ffn_mult": 1.5, "no_op": False}}
NAS = {
    **_raw("nemotron-nas", LLAMA, {"num_key_value_heads": None, "intermediate_size": None}),
    "block_configs": [
        NAS_BLOCK,
        {"attention": {"no_op": True}, "ffn": {"replace_with_linear": True}},
        {"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}},
    ],
}


def test_pruned_blocks_hold_what_is_left_of_them() -> None:
    """Block 0 whole: q and o 48 × 48, k and v 16 × 48, MLP 3 × 48 × 256, two norms; 1 and 2 one square and one norm.

    int(2 × 1.5 × 48 / 3) = 48 is rounded up to 256. With two embeddings of 101 × 48 and the last norm: 61 488.
    """
    model = parse_config(NAS)
    whole = 2 * 48 * 48 + 2 * 16 * 48 + 3 * 48 * 256 + 2 * 48
    assert model.parameters == whole + 2 * (48 * 48 + 48) + 2 * 101 * 48 + 48
    assert [(group.layers, group.kv_heads) for group in model.cache] == [(1, 2)]


BROKEN = [
    ("llama", LLAMA, {"hidden_size": -1}),
    ("llama", LLAMA, {"hidden_size": "48"}),
    ("llama", LLAMA, {"hidden_size": True}),
    ("llama", LLAMA, {"num_hidden_layers": 10**9}),
    ("llama", LLAMA, {"num_attention_heads": 7}),
    ("llama", LLAMA, {"num_key_value_heads": 4}),
    ("llama", LLAMA, {"num_attention_heads": 64}),
    ("llama", LLAMA, {"attention_bias": "yes"}),
    ("llama", LLAMA, {"rope_scaling": "dynamic"}),
    ("llama", LLAMA, {"rope_scaling": {"partial_rotary_factor": float("nan")}}),
    ("llama", LLAMA, {"rope_scaling": {"partial_rotary_factor": 3}}),
    ("llama", LLAMA, {"vocab_size": None}),
    ("llama", LLAMA, {"quantization_config": 4}),
    ("mistral", LLAMA, {"sliding_window": 0}),
    ("qwen2", LLAMA, {"layer_types": ["full_attention"]}),
    ("qwen2", LLAMA, {"layer_types": ["sliding_attention"] * 3}),
    ("qwen2", LLAMA, {"layer_types": [["full_attention"]] * 3}),
    ("qwen2", LLAMA, {"layer_types": ["full_attention", "nonsense", None]}),
    ("gemma2", LLAMA, {"sliding_window": None}),
    ("gemma3_text", LLAMA, {"sliding_window_pattern": 0}),
    ("exaone4", LLAMA, {"sliding_window_pattern": "LLLG"}),
    ("smollm3", LLAMA, {"no_rope_layers": [1]}),
    ("smollm3", LLAMA, {"no_rope_layer_interval": 0}),
    ("helium", LLAMA, {"head_dim": 10}),
    ("falcon", FALCON, {"num_kv_heads": 4}),
    ("nemotron-nas", NAS, {"block_configs": None}),
    ("nemotron-nas", NAS, {"block_configs": [NAS_BLOCK]}),
    ("nemotron-nas", NAS, {"block_configs": [1, 2, 3]}),
    ("nemotron-nas", NAS, {"block_configs": [{**NAS_BLOCK, "ffn": {"ffn_mult": 1e12}}] * 3}),
    ("nemotron-nas", NAS, {"block_configs": [{**NAS_BLOCK, "attention": {"n_heads_in_group": 4}}] * 3}),
]


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case[0]}-{'-'.join(case[2])}-{str(case[2])[-30:]}")
def test_a_wrong_value_is_a_bad_config(case: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """Wrong types, absurd sizes and dimensions that do not divide end in one sentence, never in a traceback."""
    with pytest.raises(BadConfig):
        parse_config(_raw(*case))


_JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 70), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-1, 3) | st.text(max_size=3), max_size=4),
    st.dictionaries(st.sampled_from(["rope_type", "partial_rotary_factor", "attention"]), st.floats(), max_size=2),
)  # fmt: skip
_REMOTE_CASES = [
    ("internlm2", LLAMA, {}), ("minicpm", LLAMA, {}), ("orion", LLAMA, {}), ("baichuan", LLAMA, {}),
    ("nemotron-nas", NAS, {}),
    ("chatglm", {"hidden_size": 48, "num_attention_heads": 6, "num_layers": 3, "kv_channels": 8, "seq_length": 64,
                 "ffn_hidden_size": 80, "padded_vocab_size": 101, "multi_query_attention": True,
                 "multi_query_group_num": 2}, {}),
    ("phi3_v", LLAMA, {"img_processor": {"name": "clip_vision_model", "image_dim_out": 1024},
                       "embd_layer": {"projection_cls": "mlp", "use_hd_transform": True}}),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(case=st.sampled_from(CASES + _REMOTE_CASES), data=st.data())
def test_junk_is_read_or_refused(case: tuple[str, dict[str, Any], dict[str, Any]], data: st.DataObject) -> None:
    """Whatever stands under any key: an architecture of whole, non-negative numbers, or one of our own errors."""
    raw = _raw(*case)
    for key in data.draw(st.lists(st.sampled_from(sorted(raw)), min_size=1, max_size=3)):
        if key != "model_type":
            raw[key] = data.draw(_JUNK)
    try:
        model = parse_config(raw)
    except GpufitError:
        return
    assert model.parameters > 0
    assert sum(group.layers for group in model.cache) <= model.stacks[0].layers
    for group in model.tensors.groups:
        assert all(type(size) is int and size > 0 for size in group.shape)

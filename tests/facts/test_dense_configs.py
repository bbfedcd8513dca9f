"""Dense decoders without torch: published totals, facts worked out by hand, and configurations that lie."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from dense_cases import CASES, DENSE, FALCON, LLAMA, NAS, NAS_BLOCK, REMOTE, REMOTE_CASES, Case, raw_config
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufit.errors import BadConfig, GpufitError, Undecided
from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config

SHARED = Path(__file__).parents[3] / "shared" / "configs"


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


def test_remote_checkpoints_without_a_shared_configuration() -> None:
    """Qwen-7B 7 721 324 544 and EXAONE-3.5-7.8B 7 818 448 896 parameters, as their model pages count them."""
    qwen = parse_config({
        "model_type": "qwen", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "kv_channels": 128, "intermediate_size": 22016, "vocab_size": 151936, "seq_length": 8192, "no_bias": True,
    })  # fmt: skip
    exaone = parse_config({
        "model_type": "exaone", "hidden_size": 4096, "num_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 102400, "max_position_embeddings": 32768,
    })  # fmt: skip
    assert (qwen.parameters, exaone.parameters) == (7_721_324_544, 7_818_448_896)


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
    base = raw_config("mistral", LLAMA, {})
    assert [g.window_tokens for g in parse_config(base).cache] == [4096]
    assert [g.kind for g in parse_config({**base, "sliding_window": None}).cache] == ["full"]


def test_falcon_40b_caches_every_query_head() -> None:
    """The new decoder architecture broadcasts 8 key-value heads to 128 before it caches them; 7B keeps one."""
    new = raw_config("falcon", FALCON, {"new_decoder_architecture": True, "num_kv_heads": 2})
    assert parse_config(new).cache[0].kv_heads == 6
    assert parse_config(raw_config("falcon", FALCON, {})).cache[0].kv_heads == 1


def test_an_unknown_head_is_undecided() -> None:
    """A class that is neither the causal model, nor bare, nor a classifier is never guessed at."""
    with pytest.raises(Undecided, match="LlamaBidirectionalModel"):
        _llama2_7b(architectures=["LlamaBidirectionalModel"])


def test_a_forks_class_name_loads_as_the_familys() -> None:
    """Old checkpoints say LLaMAForCausalLM; the model_type decides what transformers loads."""
    assert _llama2_7b(architectures=["LLaMAForCausalLM"]).model_class == "LlamaForCausalLM"


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
def test_a_wrong_value_is_a_bad_config(case: Case) -> None:
    """Wrong types, absurd sizes and dimensions that do not divide end in one sentence, never in a traceback."""
    with pytest.raises(BadConfig):
        parse_config(raw_config(*case))


_JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 70), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-1, 3) | st.text(max_size=3), max_size=4),
    st.dictionaries(st.sampled_from(["rope_type", "partial_rotary_factor", "attention"]), st.floats(), max_size=2),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(case=st.sampled_from(CASES + REMOTE_CASES), data=st.data())
def test_junk_is_read_or_refused(case: Case, data: st.DataObject) -> None:
    """Whatever stands under any key: an architecture of whole, non-negative numbers, or one of our own errors."""
    raw = raw_config(*case)
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

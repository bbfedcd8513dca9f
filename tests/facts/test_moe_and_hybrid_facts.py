"""Expert, latent, state-space and hybrid readers without torch: published counts, hostile values, time."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_moe_and_hybrid import TINY

from gpufit.errors import GpufitError
from gpufit.facts.families import READERS
from gpufit.facts.read import parse_config

SHARED = Path(__file__).parents[3] / "shared" / "configs"
MODULES = {
    "moe", "moe_shared", "gpt_oss", "mla", "mamba", "hybrid_mamba", "nemotron_h", "qwen3_next", "llama4",
    "mimo_v2_flash", "kimi_linear", "lfm2", "deepseek_moe", "deepseek_v4", "minimax_m3", "kimi_k25",
    "step3p7", "kimi_k3", "zamba2", "gemma3n",
}  # fmt: skip
OURS = {model_type for model_type, target in READERS.items() if target.partition(":")[0] in MODULES}


def _index() -> list[dict[str, str]]:
    if not SHARED.is_dir():
        return []
    with (SHARED / "INDEX.csv").open(newline="", encoding="utf-8") as rows:
        return [row for row in csv.DictReader(rows) if row["model_type"] in OURS and row["computed_param_count"]]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published configurations do not lie beside the repository")
def test_published_configurations_have_their_known_parameter_counts() -> None:
    """Every one of them, to the parameter."""
    rows = _index()
    counted = {
        row["hf_id"]: parse_config(json.loads((SHARED / row["file"]).read_text(encoding="utf-8"))).parameters
        for row in rows
    }
    assert len(counted) > 40
    assert counted == {row["hf_id"]: int(row["computed_param_count"]) for row in rows}


def test_latent_attention_caches_the_latent_and_not_the_heads() -> None:
    """DeepSeek-V3: 61 layers × (512 + 64) × 2 bytes = 70,272 bytes a token, where 128 expanded heads take 4,997,120."""
    v3 = parse_config({
        "model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
        "num_hidden_layers": 61, "num_attention_heads": 128, "n_routed_experts": 256, "num_experts_per_tok": 8,
        "vocab_size": 129280,
    })  # fmt: skip
    assert v3.parameters == 671_026_404_352
    assert sum(2 * group.layers * group.elements_per_token for group in v3.cache) == 70_272


def test_all_experts_count_however_few_a_token_uses() -> None:
    """Mixtral 8x7B holds 46,702,792,704 parameters whatever ``num_experts_per_tok`` says."""
    mixtral = {
        "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
    }  # fmt: skip
    assert {parse_config(mixtral | {"num_experts_per_tok": n}).parameters for n in (1, 2, 8)} == {46_702_792_704}


@pytest.mark.parametrize("name", TINY)
def test_every_key_refuses_what_it_cannot_be(name: str) -> None:
    """A negative, absurd or wrongly typed value is a typed error or is not read at all; never another exception."""
    for key in (key for key in TINY[name] if key not in ("model_type", "architectures")):
        for wrong in (-1, 0, 10**30, 1.5, float("nan"), "many", [], [[1]], {"a": {}}, True, ["x"] * 5000):
            try:
                ours = parse_config(TINY[name] | {key: wrong})
            except GpufitError:
                continue
            assert ours.parameters > 0, (key, wrong)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(TINY)),
    values=st.lists(
        st.one_of(
            st.integers(), st.floats(), st.text(max_size=5), st.none(), st.booleans(), st.lists(st.integers(-9, 9)),
            st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        ),
        min_size=1, max_size=6,
    ),
    data=st.data(),
)  # fmt: skip
def test_readers_never_fail_otherwise(name: str, values: list[Any], data: st.DataObject) -> None:
    """Several wrong values at once: an Architecture of sound numbers, or a typed error."""
    raw = dict(TINY[name])
    for value in values:
        raw[data.draw(st.sampled_from(sorted(raw.keys() - {"model_type"})))] = value
    try:
        ours = parse_config(raw)
    except GpufitError:
        return
    assert ours.parameters > 0
    assert all(group.elements_per_token >= 0 and group.layers > 0 for group in ours.cache)


def test_every_family_has_a_shrunken_configuration() -> None:
    """No reader of this room goes without being held against transformers, but for those it has no class for."""
    assert OURS - {re.split("-", name)[0] for name in TINY} == {
        "deepseek",
        "kimi_k2",
        "kimi_k3",
        "minimax_m3",
        "kimi_k25",
        "step3p7",
    }


def test_kimi_k3_by_hand() -> None:
    """Four layers of width 32: delta, latent, delta, latent, the first dense, the others of six experts.

    Words, head, last norm: 2·61·32 + 32. Delta (3 heads of 6, convolutions of 3): four 32·18, 3·18·3, 18, 3, 32·6,
    6·18, 32·3, 6, 18·32. Latent (4 heads of 10 + 8, values of 14, ranks 20 and 16): 32·20, 20, 20·72, 32·24, 16,
    16·96, 56·32 and the gate 32·56. Dense: 3·32·24. Mixture in a space of 12, experts of 10, two of them shared:
    6·32, 6·3·12·10, 2·32·12, 12, 3·32·20. Norms and what looks back: 4·(4·32 + 2·32) and 2·32.
    """
    delta = 4 * 32 * 18 + 3 * 18 * 3 + 18 + 3 + 32 * 6 + 6 * 18 + 32 * 3 + 6 + 18 * 32
    latent = 32 * 20 + 20 + 20 * 72 + 32 * 24 + 16 + 16 * 96 + 2 * 56 * 32
    mixture = 6 * 32 + 6 * 3 * 12 * 10 + 2 * 32 * 12 + 12 + 3 * 32 * 20
    text = 2 * 61 * 32 + 32 + 2 * (delta + latent) + 3 * 32 * 24 + 3 * mixture + 4 * 6 * 32 + 2 * 32
    # patches of 2, 5 × 7 positions, 16 wide, two blocks of 3 heads of 4 and an MLP of 20; four patches joined into one
    tower = 16 * 3 * 4 + 5 * 7 * 16 + 2 * (2 * 16 + 2 * 16 * 20 + 16 * 36 + 12 * 16) + 16
    model = parse_config({
        "model_type": "kimi_k3",
        "text_config": {
            "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4,
            "vocab_size": 61, "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 10, "qk_rope_head_dim": 8,
            "v_head_dim": 14, "mla_use_output_gate": True, "first_k_dense_replace": 1, "num_experts": 6,
            "num_experts_per_token": 2, "num_shared_experts": 2, "moe_intermediate_size": 10,
            "routed_expert_hidden_size": 12, "latent_moe_use_norm": True, "attn_res_block_size": 2,
            "quantization_config": {"quant_method": "compressed-tensors"},
            "linear_attn_config": {
                "kda_layers": [1, 3], "full_attn_layers": [2, 4], "num_heads": 3, "head_dim": 6,
                "short_conv_kernel_size": 3, "use_full_rank_gate": True,
            },
        },
        "vision_config": {
            "vt_hidden_size": 16, "qkv_hidden_size": 12, "vt_num_attention_heads": 3, "vt_num_hidden_layers": 2,
            "vt_intermediate_size": 20, "patch_size": 2, "init_pos_emb_height": 5, "init_pos_emb_width": 7,
        },
    })  # fmt: skip
    assert model.parameters == text + tower + 64 * 64 + 64 * 32 + 32
    kinds = [(entry.kind, entry.layers, entry.elements_per_token) for entry in model.cache]
    assert kinds == [("latent", 2, 16 + 8), ("state", 2, 0)]
    assert model.config_quantization == "compressed-tensors"
    assert "no published parameter count" in model.notes[0]

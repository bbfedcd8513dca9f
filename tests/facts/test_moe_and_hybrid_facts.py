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
    "step3p7",
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
        "minimax_m3",
        "kimi_k25",
        "step3p7",
    }

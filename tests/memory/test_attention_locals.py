"""What only attention names: GPT-J's and CodeGen's own sin and cos, a fused projection while the cache grows."""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import Phase, estimate_phases
from gpufit.memory.workload import Workload

from .shrunken import SHRUNKEN

PROMPT, NEW = 64, 4


def phases(name: str, **work: Any) -> dict[str, Phase]:
    found = estimate_phases(parse_config(SHRUNKEN[name]), Workload(prompt_tokens=PROMPT, new_tokens=NEW, **work))
    return {phase.name: phase for phase in found}


def test_the_mlp_of_gptj_holds_no_table_of_positions() -> None:
    """GPTJAttention.forward's embed_positions, repeated_position_ids and sincos die when it returns.

    64 tokens of bf16, 448 wide, an MLP of 1,792, 7 heads, two layers' weights of attention, mask, ids and positions.
    """
    by_hand = 64 * 2 * (4 * 448 + 4 * 1792) + 2 * (7 * 64 * 64 * 2) + 64 * 64 * 2 + 8 * 64 + 8 * 64
    prefill = phases("gptj", dtype="bf16")["prefill"]
    assert (prefill.moment, prefill.activation_bytes) == ("mlp", by_hand)
    assert by_hand == 1_270_784


def test_a_step_of_gptj_holds_the_whole_table_in_attention() -> None:
    """512 positions of 32 fp32 numbers, then 32 indices of 8 bytes and as many bf16 numbers for the new token.

    Beside it 7 heads' scores of 67 tokens at 8 bytes, queries and keys in fp32, and the layer before's weights.
    """
    table = 512 * 32 * 4 + 32 * 8 + 32 * 2
    scores = 7 * 67 * 8 + 448 * 4 + 67 * 448 * 4 + 7 * 67 * 2
    projected = (3 * 448 + 2 * 7 * 32) * 2
    around = 3 * 448 * 2 + 997 * 4 + 67 * 2 + 8 * 67 + 8
    decode = phases("gptj", dtype="bf16")["decode"]
    assert (decode.moment, decode.activation_bytes) == ("attention scores", table + scores + projected + around)
    assert table + scores + projected + around == 203_340


def test_the_cache_of_falcon_grows_beside_projection_and_scores_of_the_layer_before() -> None:
    """The 67th token: one key head of 64; 448 + 128 projected together; 7 heads' weights of the layer before."""
    grown = 67 * 64 * 2
    attending = (448 + 2 * 64) * 2 + 448 * 2 + 7 * 67 * 2
    around = 3 * 448 * 2 + 997 * 4 + 67 * 2 + 2 * 64 * 2 + 8 * 67 + 8
    decode = phases("falcon", dtype="fp16", attention="eager")["decode"]
    assert (decode.moment, decode.activation_bytes) == ("cache growth", grown + attending + around)
    assert grown + attending + around == 19_172


@pytest.mark.real
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("name", ["gptj", "codegen", "falcon", "falcon-alibi"])
def test_short_prompts_are_within_half_a_percent_of_the_replay(name: str, dtype: str) -> None:
    pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
    from gpufit.replay.front import replay_config

    work = Workload(prompt_tokens=PROMPT, new_tokens=NEW, dtype=dtype, attention="eager")
    found = {
        phase.peak.phase: phase.closed_form_bytes / phase.peak.above_bytes - 1
        for phase in replay_config(SHRUNKEN[name], work).phases
        if phase.closed_form_bytes is not None
    }
    assert set(found) == {"prefill", "decode"}
    assert max(map(abs, found.values())) < 0.005, found

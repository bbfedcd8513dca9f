"""Readers of expert, latent, state-space and hybrid decoders against transformers' own models and real caches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_moe_and_hybrid import TINY

from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload

sys.path.insert(0, str(Path(__file__).parents[1] / "memory"))

pytest.importorskip("transformers", reason="the truth is transformers' own model: install gpufit[measure]")

from compare import differences
from oracle import build
from real_cache import cache_bytes

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
BATCH, PROMPT = 2, 11  # longer than every window; with one token more, a multiple of both compression rates
# right after a prompt, DeepSeek V4's waiting tokens are views into the projections of the whole prompt
KEEPS_PROMPT = {"deepseek_v4"}


@pytest.mark.parametrize("name", TINY)
def test_reader_writes_the_tensors_that_transformers_builds(name: str) -> None:
    """Names, shapes, module kinds, ties, buffers, output and fp32 rules all agree."""
    ours = parse_config(TINY[name])
    assert differences(ours, build(TINY[name], ours.model_class)) == []


def _real(raw: dict[str, Any], ours: Architecture) -> Any:
    """The family's model with bf16 random weights, but for what transformers keeps in fp32."""
    import torch
    import transformers

    torch.manual_seed(0)
    keys = {k: v for k, v in raw.items() if k not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **keys)
    model = getattr(transformers, ours.model_class)(config).eval()
    for name, parameter in model.named_parameters():
        if not any(part in name for part in ours.tensors.keep_fp32_strict):
            parameter.data = parameter.data.to(torch.bfloat16)
    return model


@pytest.mark.parametrize("name", TINY)
def test_cache_records_say_what_a_real_forward_stores(name: str) -> None:
    """Bytes alive in the real cache, right after a prompt and one token later, are those counted."""
    import torch

    ours = parse_config(TINY[name])
    model = _real(TINY[name], ours)
    tokens = torch.randint(3, 60, (BATCH, PROMPT))
    work = Workload(prompt_tokens=PROMPT, new_tokens=1, batch=BATCH, dtype="bf16")
    name_of_cache = "past_key_values" if ours.stacks[0].attention else "cache_params"
    with torch.no_grad():
        cache = model(tokens, use_cache=True)[name_of_cache]
        counted = count_cache(ours, work, after_prefill=True)
        assert (cache_bytes(cache) > counted) if name in KEEPS_PROMPT else (cache_bytes(cache) == counted)
        cache = model(tokens[:, :1], use_cache=True, **{name_of_cache: cache})[name_of_cache]
    assert cache_bytes(cache) == count_cache(ours, work)

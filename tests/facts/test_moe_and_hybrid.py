"""Readers of expert, latent, state-space and hybrid decoders against transformers' own models and real caches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_moe_and_hybrid import TINY

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import TORCH_NAME
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


@pytest.mark.parametrize("name", TINY)
def test_loading_leaves_each_tensor_in_the_stated_dtype(name: str, tmp_path: Path) -> None:
    """``from_pretrained`` in bf16, and in fp16 where its rule differs: what stays fp32 is what is said to."""
    import torch
    import transformers

    ours = parse_config(TINY[name])
    _real(TINY[name], ours).save_pretrained(tmp_path)
    formats = [(torch.bfloat16, "bf16")] + [(torch.float16, "fp16")] * bool(ours.tensors.keep_fp32)
    for dtype, short in formats:
        model = getattr(transformers, ours.model_class).from_pretrained(tmp_path, dtype=dtype)
        kept = ours.tensors.keep_fp32_strict + (ours.tensors.keep_fp32 if short == "fp16" else ())
        stated = {
            tensor: group.dtype or ("fp32" if any(part in tensor for part in kept) else short)
            for group in ours.tensors.groups
            if not group.tied_to
            for tensor in group.names()
        }
        real = {n: str(p.dtype).removeprefix("torch.") for n, p in [*model.named_parameters(), *model.named_buffers()]}
        assert real == {tensor: TORCH_NAME.get(dtype, dtype) for tensor, dtype in stated.items()}


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


def test_step_is_the_language_model_of_the_class_that_transformers_has() -> None:
    """The text-only class is missing there; its tensors are those of the whole model without tower and projector."""
    text = {
        "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "intermediate_size": 24, "vocab_size": 61, "moe_intermediate_size": 40, "share_expert_dim": 20,
        "n_routed_experts": 6, "num_experts_per_tok": 2, "num_sliding_attention_heads": 6, "sliding_window": 5,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"], "max_position_embeddings": 128,
    }  # fmt: skip
    whole = build({"model_type": "step3p7", "text_config": text}, "Step3p7ForConditionalGeneration").shapes
    expected = {n.replace("model.language_model", "model"): s for n, s in whole.items() if "language_model" in n}
    expected["lm_head.weight"] = whole["lm_head.weight"]
    assert parse_config({"model_type": "step3p7", **text}).tensors.shapes() == expected


def test_kimi_k25_is_deepseek_v3_behind_a_picture_tower() -> None:
    """The tower's keys as transformers names them, the text section as published: ``kimi_k2``."""
    raw = {
        "model_type": "kimi_k25",
        "text_config": TINY["deepseek_v3"] | {"model_type": "kimi_k2"},
        "vision_config": {
            "hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20,
            "pos_emb_height": 5, "pos_emb_width": 7, "pos_emb_time": 2, "merge_kernel_size": [2, 3],
        },
        "projection_hidden_size": 48, "tie_word_embeddings": False,
    }  # fmt: skip
    ours = parse_config(raw)
    assert differences(ours, build(raw, ours.model_class)) == []

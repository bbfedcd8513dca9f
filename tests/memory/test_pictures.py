"""Pictures in a vision-language model: the closed forms against a replay of the whole forward pass with pixels."""

from __future__ import annotations

from typing import Any

import pytest

import gpufit
from gpufit.errors import Unsupported, UsageError
from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases, explain_phase
from gpufit.memory.activations.pictures import picture_tokens
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload

MOST_BYTES_APART = 64

_TEXT: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 997, "max_position_embeddings": 2048,
}  # fmt: skip
_EYE: dict[str, Any] = {"hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 9, "intermediate_size": 250}
_SQUARE = {**_EYE, "image_size": 96, "patch_size": 8}
SEEING: dict[str, dict[str, Any]] = {
    "llava": {
        "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "image_token_index": 5,
        "vision_config": {"model_type": "clip_vision_model", **_SQUARE},
        "text_config": {"model_type": "llama", **_TEXT},
    },
    "gemma3": {
        "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "image_token_index": 5,
        "mm_tokens_per_image": 36, "vision_config": {"model_type": "siglip_vision_model", **_SQUARE},
        "text_config": {"model_type": "gemma3_text", **_TEXT},
    },
    "paligemma": {
        "model_type": "paligemma", "architectures": ["PaliGemmaForConditionalGeneration"], "image_token_index": 5,
        "projection_dim": 64, "vision_config": {"model_type": "siglip_vision_model", **_SQUARE, "projection_dim": 64},
        "text_config": {"model_type": "gemma", **_TEXT},
    },
    "internvl": {
        "model_type": "internvl", "architectures": ["InternVLForConditionalGeneration"], "image_token_id": 5,
        "vision_config": {"model_type": "internvl_vision", **_EYE, "image_size": [96, 96], "patch_size": [8, 8]},
        "text_config": {"model_type": "qwen2", **_TEXT},
    },
}  # fmt: skip


@pytest.mark.real
@pytest.mark.parametrize("name", SEEING)
def test_a_forward_pass_with_pictures_meets_the_replay(name: str) -> None:
    """In a short prompt the tower decides, in a long one the decoder; to within the scalars that nobody counts."""
    torch = pytest.importorskip("torch", reason="the replay runs transformers' own code: pip install gpufit[measure]")
    pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")
    from gpufit.replay.build import build_model
    from gpufit.replay.front import replay_module

    architecture = parse_config(SEEING[name])

    class Prefill(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, **inputs: Any) -> Any:
            return self.model(use_cache=True, logits_to_keep=1, **inputs)

    for prompt, batch, dtype, kernel in (
        (160, 1, "bf16", "eager"), (160, 1, "fp16", "sdpa"), (304, 2, "fp32", "sdpa"), (1000, 1, "fp16", "sdpa"),
    ):  # fmt: skip
        model: Any = build_model(SEEING[name], dtype=dtype, attention=kernel)  # type: ignore[arg-type]
        ids = torch.zeros(batch, prompt, dtype=torch.int64, device="meta")
        inputs = {"input_ids": ids, "pixel_values": torch.zeros(batch, 3, 96, 96, dtype=model.dtype, device="meta")}
        if name in ("gemma3", "paligemma"):
            inputs["token_type_ids"] = torch.zeros_like(ids)
        truth = replay_module(Prefill(model), inputs).peak.above_bytes
        work = Workload(prompt_tokens=prompt, batch=batch, dtype=dtype, attention=kernel, images=1)  # type: ignore[arg-type]
        cache = count_cache(architecture, work, after_prefill=True)
        found = {phase.name: phase.activation_bytes for phase in estimate_phases(architecture, work)}
        peak = max(found["encode"], cache + found["prefill"])
        assert abs(peak - truth) <= MOST_BYTES_APART, (prompt, batch, dtype, kernel, found, cache, truth)


def test_llava_encodes_its_picture_before_the_prefill() -> None:
    """336 pixels are 577 positions: quick_gelu's three tensors beside the prompt's embeddings, no cache yet."""
    llava = parse_config(
        {
            "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"],
            "vision_config": {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14,
                              "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
                              "intermediate_size": 4096},
            "text_config": {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
                            "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32064},
        }
    )  # fmt: skip
    assert picture_tokens(llava) == 576
    work = Workload(prompt_tokens=600, images=1)
    encode, prefill = estimate_phases(llava, work)
    pixels, tower = 3 * 336 * 336, 577 * 1024
    assert encode.activation_bytes == 577 * 2 * (4 * 1024 + 3 * 4096) + 2 * (pixels + 600 * 4096) + 8 * 600
    alone = estimate_phases(llava, Workload(prompt_tokens=600))[0].activation_bytes
    kept = 2 * (pixels + 2 * tower + 2 * 576 * 4096) + 600
    assert prefill.activation_bytes - alone == kept
    assert f"+ {kept:,} of pictures" in explain_phase(llava, work, prefill)


def test_one_picture_is_assumed_where_it_is_understood_and_has_room() -> None:
    assert gpufit.check("llava-1.5-7b", vram=24, environ={}).workload.images == 1
    assert gpufit.check("llava-1.5-7b", vram=24, prompt=100, environ={}).workload.images == 0
    assert gpufit.check("gemma-3-4b", vram=24, images=3, environ={}).workload.images == 3
    assert gpufit.check("qwen2.5-vl-7b", vram=24, environ={}).workload.images == 0
    assert gpufit.check("gpt2", vram=24, environ={}).workload.images == 0


@pytest.mark.parametrize(
    ("model", "asked", "says"),
    [
        ("qwen2.5-vl-7b", {"images": 1}, "no formula for its pictures"),
        ("gpt2", {"images": 1}, "it reads none"),
        ("llava-1.5-7b", {"images": 1, "prompt": 576}, "leaves no room"),
        ("llava-1.5-7b", {"images": -1}, "not from 0"),
    ],
)
def test_pictures_that_cannot_be_are_refused(model: str, asked: dict[str, int], says: str) -> None:
    with pytest.raises((UsageError, Unsupported), match=says):
        gpufit.check(model, vram=24, environ={}, **asked)  # type: ignore[arg-type]

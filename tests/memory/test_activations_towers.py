"""Picture and text towers: the closed forms against the replay of transformers' own code."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.activations import estimate_phases
from gpufit.memory.workload import Workload

from .replayed import phase_differences

pytest.importorskip("transformers", reason="the replay runs transformers' own code: pip install gpufit[measure]")

WORST_PERCENT, MEDIAN_PERCENT = 2.0, 0.2

_PICTURE: dict[str, Any] = {
    "hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 9, "intermediate_size": 250, "image_size": 96,
    "patch_size": 8,
}  # fmt: skip
_WORDS: dict[str, Any] = {
    "vocab_size": 997, "hidden_size": 72, "num_hidden_layers": 3, "num_attention_heads": 9, "intermediate_size": 270,
    "max_position_embeddings": 77, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_SMALL = {**_PICTURE, "image_size": 24}
TOWERS: dict[str, dict[str, Any]] = {
    "vit": {"model_type": "vit", "architectures": ["ViTForImageClassification"], **_PICTURE},
    "vit-one-layer": {"model_type": "vit", "architectures": ["ViTModel"], **_PICTURE, "num_hidden_layers": 1},
    "dinov2": {"model_type": "dinov2", "architectures": ["Dinov2Model"], **_PICTURE},
    "dinov2-gated": {"model_type": "dinov2", "architectures": ["Dinov2Model"], **_PICTURE, "use_swiglu_ffn": True},
    "clip": {"model_type": "clip", "architectures": ["CLIPModel"], "text_config": _WORDS, "vision_config": _PICTURE},
    "clip-text-decides": {
        "model_type": "clip", "architectures": ["CLIPModel"], "text_config": _WORDS, "vision_config": _SMALL,
    },
    "clip-gelu": {"model_type": "clip_vision_model", "architectures": ["CLIPVisionModel"], **_PICTURE,
                  "hidden_act": "gelu"},
    "clip-text": {"model_type": "clip_text_model", "architectures": ["CLIPTextModelWithProjection"], **_WORDS},
    "siglip": {
        "model_type": "siglip", "architectures": ["SiglipModel"], "text_config": _WORDS, "vision_config": _PICTURE,
    },
    "siglip-vision": {"model_type": "siglip_vision_model", "architectures": ["SiglipVisionModel"], **_PICTURE},
}  # fmt: skip


@pytest.mark.parametrize("name", TOWERS)
def test_towers_meet_the_replay(name: str) -> None:
    found = {}
    for dtype, batch in (("fp16", 1), ("bf16", 3), ("fp32", 2)):
        for kernel in ("sdpa", "eager"):
            case = phase_differences(
                TOWERS[name], prompt=61, new=0, batch=batch, dtype=dtype, attention=kernel  # type: ignore[arg-type]
            )  # fmt: skip
            found[f"{dtype} {kernel} {batch}"] = case["encode"]
    assert max(map(abs, found.values())) <= WORST_PERCENT, found
    assert median(map(abs, found.values())) <= MEDIAN_PERCENT, found


def test_quick_gelu_takes_a_third_tensor() -> None:
    quick = parse_config({**TOWERS["clip-gelu"], "hidden_act": "quick_gelu"})
    plain = parse_config(TOWERS["clip-gelu"])
    work = Workload(prompt_tokens=1)
    more = estimate_phases(quick, work)[0].activation_bytes - estimate_phases(plain, work)[0].activation_bytes
    assert more == 145 * 250 * 2  # 144 patches and the class token, the MLP's width, fp16

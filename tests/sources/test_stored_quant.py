"""Already quantized checkpoints: recognised from their tensors, named by their configuration, counted as stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from written import LLAMA, safetensors_bytes

from gpufit.facts.stored import StoredTensor
from gpufit.facts.stored_quant import recognise
from gpufit.sources.resolve import resolve_path

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}


def tensors(**shapes: tuple[str, tuple[int, ...]]) -> list[StoredTensor]:
    """``weight__absmax`` stands for ``weight.absmax``, since a keyword holds no dot."""
    dotted = {n.replace("weight__", "weight.").replace("state__", "state."): shape for n, shape in shapes.items()}
    return [StoredTensor(f"model.layers.0.mlp.up_proj.{n}", shape, dtype, 8) for n, (dtype, shape) in dotted.items()]


BNB4 = {"weight": ("U8", (32, 1)), "weight__absmax": ("U8", (4,)), "weight__quant_map": ("F32", (16,))}
FORMATS: dict[str, tuple[list[StoredTensor], dict[str, Any] | None, str | None, str | None]] = {
    "plain": (tensors(weight=("BF16", (4, 4))), None, None, None),
    "LLM.int8": (tensors(weight=("I8", (4, 4)), SCB=("F32", (4,)), weight_format=("U8", ())), None,
                 "bitsandbytes", "bnb-int8"),
    "NF4": (tensors(**BNB4, weight__quant_state__bitsandbytes__nf4=("U8", (80,))), None, "bitsandbytes", "bnb-nf4"),
    "NF4 nested": (
        tensors(**BNB4, weight__nested_absmax=("F32", (1,)), weight__quant_state__bitsandbytes__nf4=("U8", (80,))),
        None, "bitsandbytes", "bnb-nf4-dq",
    ),
    "FP4": (tensors(**BNB4, weight__quant_state__bitsandbytes__fp4=("U8", (80,))), None, "bitsandbytes", "bnb-fp4"),
    "GPTQ": (tensors(qweight=("I32", (2, 4)), g_idx=("I32", (16,))), GPTQ, "gptq", "gptq-int4-g128"),
    "GPTQ, 8 bits, whole columns": (
        tensors(qweight=("I32", (2, 4)), g_idx=("I32", (16,))), {**GPTQ, "bits": 8, "group_size": -1},
        "gptq", "gptq-int8-column",
    ),
    "GPTQ without g_idx": (tensors(qweight=("I32", (2, 4)), scales=("F16", (1, 4))), GPTQ, "gptq", "gptq-int4-g128"),
    "AWQ": (
        tensors(qweight=("I32", (16, 1)), qzeros=("I32", (1, 1)), scales=("F16", (1, 8))),
        {"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", "awq-int4-g128",
    ),
    "AWQ of the first days": (
        tensors(qweight=("I32", (16, 1)), scales=("F16", (1, 8))),
        {"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq", "awq-int4-g64",
    ),
    "FP8, block scales": (
        tensors(weight=("F8_E4M3", (4, 4)), weight_scale_inv=("F32", (1, 1))), {"quant_method": "fp8"}, "fp8", "fp8",
    ),
    "FP8, one scale": (tensors(weight=("F8_E4M3", (4, 4)), weight_scale=("F32", ())), None, "fp8", "fp8"),
    "FP8 of fbgemm": (
        tensors(weight=("F8_E4M3", (4, 4)), weight_scale=("F32", (4, 1))), {"quant_method": "fbgemm_fp8"},
        "fbgemm_fp8", "fp8",
    ),
    "compressed-tensors, FP8": (
        tensors(weight=("F8_E4M3", (4, 4)), weight_scale=("BF16", (4, 1))),
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
        "compressed-tensors", "compressed-tensors-float-quantized",
    ),
    "compressed-tensors, packed": (
        tensors(weight_packed=("I32", (4, 1)), weight_scale=("BF16", (4, 1)), weight_shape=("I64", (2,))),
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        "compressed-tensors", "compressed-tensors-pack-quantized",
    ),
    "MXFP4": (
        tensors(gate_up_proj_blocks=("U8", (2, 4, 1, 16)), gate_up_proj_scales=("U8", (2, 4, 1))),
        {"quant_method": "mxfp4"}, "mxfp4", "mxfp4",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "section", "method", "quant"), FORMATS.values(), ids=FORMATS)
def test_every_format_is_named(
    found: list[StoredTensor], section: dict[str, Any] | None, method: str | None, quant: str | None
) -> None:
    told = recognise(found, section)
    assert (told.method, told.quant, told.notes) == (method, quant, ())


def test_a_configuration_that_contradicts_the_tensors_is_told() -> None:
    plain = recognise(FORMATS["plain"][0], {"quant_method": "gptq"})
    assert plain.method is None
    assert "plain numbers" in plain.notes[0]
    other = recognise(FORMATS["NF4"][0], GPTQ)
    assert (other.method, len(other.notes)) == ("bitsandbytes", 1)


@pytest.mark.parametrize(
    "section", [{"quant_method": 3}, {"bits": "4"}, {"bits": 10**9}, {"group_size": []}, {"format": 1}]
)
def test_absurd_sections_never_break_the_naming(section: dict[str, Any]) -> None:
    for found, *_ in FORMATS.values():
        recognise(found, section)


@pytest.mark.real
@pytest.mark.parametrize(
    ("options", "quant"),
    [
        ({"load_in_8bit": True}, "bnb-int8"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bnb-nf4"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, "bnb-nf4-dq"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "bnb-fp4"),
    ],
)
def test_a_checkpoint_that_bitsandbytes_saved_is_counted_to_the_byte(
    options: dict[str, Any], quant: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    import torch

    plain, packed = tmp_path / "plain", tmp_path / "packed"
    config = transformers.LlamaConfig(**{k: v for k, v in LLAMA.items() if k not in ("model_type", "architectures")})
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(plain)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        plain, quantization_config=transformers.BitsAndBytesConfig(**options), device_map={"": "cpu"}
    )
    model.save_pretrained(packed)
    found = resolve_path(packed)
    assert found.stored is not None
    assert (found.stored.method, found.stored.quant, found.notes) == ("bitsandbytes", quant, ())
    from safetensors import safe_open

    with safe_open(packed / "model.safetensors", "pt") as file:
        assert found.stored.total_bytes == sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118
    assert found.architecture.parameters == resolve_path(plain).architecture.parameters


def test_the_checkpoint_of_a_nested_text_model_is_named_by_its_section(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, "quantization_config": GPTQ}))
    layer = "model.layers.0.mlp.up_proj"
    (tmp_path / "model.safetensors").write_bytes(
        safetensors_bytes({f"{layer}.qweight": ("I32", (8, 96)), f"{layer}.g_idx": ("I32", (64,))})
    )
    found = resolve_path(tmp_path).stored
    assert found is not None
    assert (found.quant, found.total_bytes, found.dtype_bytes) == ("gptq-int4-g128", 3328, {"I32": 3328})

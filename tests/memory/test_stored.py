"""A checkpoint that is already quantized is counted from its own headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gpufit
from gpufit.errors import Unsupported
from gpufit.memory.weights import count_weights

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 512,
}  # fmt: skip
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}


def write_checkpoint(folder: Path, config: dict[str, Any], tensors: dict[str, tuple[str, list[int], int]]) -> int:
    """A folder with config.json and a safetensors file whose data is a hole; returns the bytes of its tensors."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    header, end = {}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end


def gptq_tensors() -> dict[str, tuple[str, list[int], int]]:
    tensors: dict[str, tuple[str, list[int], int]] = {"model.embed_tokens.weight": ("F16", [100, 64], 12_800)}
    for layer in range(2):
        name = f"model.layers.{layer}.mlp.up_proj"
        tensors[f"{name}.qweight"] = ("I32", [8, 128], 4_096)
        tensors[f"{name}.qzeros"] = ("I32", [1, 16], 64)
        tensors[f"{name}.scales"] = ("F16", [1, 128], 256)
        tensors[f"{name}.g_idx"] = ("I32", [64], 256)
    tensors["lm_head.weight"] = ("F16", [100, 64], 12_800)
    return tensors


def test_stored_bytes_decide_for_a_quantized_checkpoint_and_nothing_is_quantized_twice(tmp_path: Path) -> None:
    total = write_checkpoint(tmp_path / "model", {**LLAMA, **GPTQ}, gptq_tensors())
    found = gpufit.check(str(tmp_path / "model"), vram="4GB")
    assert found.workload.quant == "stored"
    assert found.breakdown[0].range.likely_bytes == total == 34_944
    assert "11 tensors" not in found.breakdown[0].formula
    assert found.breakdown[0].formula.startswith("10 tensors as the files hold them")
    assert [option[0] for option in found.formats] == ["fp32", "stored"]
    assert found.recommendation is not None
    assert found.recommendation.workload.quant == "stored"
    assert any("gptq" in note for note in found.notes)


def test_plain_checkpoints_are_counted_by_their_configuration_in_the_dtype_asked(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "model", LLAMA, {"model.embed_tokens.weight": ("BF16", [100, 64], 12_800)})
    found = gpufit.check(str(tmp_path / "model"), vram="4GB", dtype="fp32")
    assert found.workload.quant == "none"
    assert found.breakdown[0].range.likely_bytes == 4 * found.subject.architecture.parameters


def test_only_files_have_a_stored_format() -> None:
    with pytest.raises(Unsupported, match="read from its files"):
        count_weights(gpufit.architecture_of("gpt2"), "fp16", "stored")


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
def test_a_real_bitsandbytes_checkpoint_weighs_what_its_file_holds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the measure extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the measure extra is not installed")
    pytest.importorskip("bitsandbytes", reason="the measure extra is not installed")
    from safetensors import safe_open

    settings = {key: value for key, value in LLAMA.items() if key not in ("model_type", "architectures")}
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings)).half().save_pretrained(tmp_path / "plain")
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    transformers.LlamaForCausalLM.from_pretrained(
        tmp_path / "plain", quantization_config=config, device_map="cpu", dtype=torch.float16
    ).save_pretrained(tmp_path / "nf4")
    with safe_open(tmp_path / "nf4" / "model.safetensors", "pt") as file:
        total = sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118 - not a dictionary

    found = gpufit.check(str(tmp_path / "nf4"), vram="4GB")
    assert found.workload.quant == "stored"
    assert found.breakdown[0].range.likely_bytes == total
    assert "bnb-nf4" in " ".join(found.notes)

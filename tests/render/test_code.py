"""``--code`` prints programs that today's transformers accepts."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from gpufit.facts.read import parse_config
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.workload import Workload
from gpufit.render.code import auto_class, loading_code
from gpufit.verdict.check import Subject

TINY: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 4, "vocab_size": 100, "architectures": ["LlamaForCausalLM"],
    },
    "t5": {
        "model_type": "t5", "d_model": 64, "d_ff": 128, "d_kv": 16, "num_heads": 4, "num_layers": 1,
        "vocab_size": 100, "architectures": ["T5ForConditionalGeneration"],
    },
    "bert": {
        "model_type": "bert", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 4, "vocab_size": 100, "architectures": ["BertForMaskedLM"],
    },
    "llava": {
        "model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "image_token_index": 5,
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 64, "intermediate_size": 128,
                          "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16, "patch_size": 8},
        "text_config": {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
                        "num_attention_heads": 4, "vocab_size": 100},
    },
    "whisper": {
        "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"], "d_model": 64,
        "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 100, "max_source_positions": 8,
        "max_target_positions": 16, "num_mel_bins": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 3, "suppress_tokens": None, "begin_suppress_tokens": None,
    },
    "vit": {
        "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 64, "image_size": 16,
        "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4, "patch_size": 8,
    },
}  # fmt: skip
AUTO = {"llama": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM", "bert": "AutoModelForMaskedLM",
        "llava": "AutoModelForImageTextToText", "whisper": "AutoModelForSpeechSeq2Seq",
        "vit": "AutoModelForImageClassification"}  # fmt: skip


def example_inputs(name: str, torch: Any, model: Any) -> dict[str, Any]:
    """What one forward pass of that kind of model takes."""
    tokens = torch.tensor([[1, 2, 3]])
    if name == "whisper":
        return {"input_features": torch.zeros(1, 16, 16, dtype=model.dtype), "decoder_input_ids": tokens}
    if name == "vit":
        return {"pixel_values": torch.zeros(1, 3, 16, 16, dtype=model.dtype)}
    if name == "llava":  # four patches stand for the picture
        picture = torch.zeros(1, 3, 16, 16, dtype=model.dtype)
        return {"input_ids": torch.tensor([[1, 5, 5, 5, 5, 2]]), "pixel_values": picture}
    return {"input_ids": tokens, **({"decoder_input_ids": tokens} if name == "t5" else {})}


def subject(name: str, where: str = "someone/some-model") -> Subject:
    return Subject(name=name, origin="test", architecture=parse_config(TINY[name]), hub_id=where)


@pytest.mark.parametrize("quant", ["none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4", "fp8", "gptq-int4-g128"])
@pytest.mark.parametrize("name", TINY)
def test_the_program_is_python_and_names_every_choice(name: str, quant: Any) -> None:
    code = loading_code(subject(name), Workload(prompt_tokens=8, quant=quant, dtype="bf16", attention="eager"))
    ast.parse(code)
    assert "dtype=torch.bfloat16" in code
    assert 'attn_implementation="eager"' in code
    assert ("quantization_config=" in code) == (quant in ("bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4", "fp8"))


def test_a_quantized_cache_and_several_cards_are_written_out() -> None:
    code = loading_code(subject("llama"), Workload(prompt_tokens=8, kv_dtype="fp8"), devices=2)
    assert 'device_map="auto"' in code
    assert '"cache_implementation": "quantized"' in code
    ast.parse(code)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kv_dtype", ["fp8", "int8", "int4"])
def test_the_cache_of_the_program_is_made_and_has_the_counted_bytes(kv_dtype: str, tmp_path: Any) -> None:
    """The very lines of ``--code`` generate 40 tokens after 200, and the cache object holds what was counted."""
    torch = pytest.importorskip("torch", reason="the measure extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the measure extra is not installed")
    if kv_dtype != "fp8":
        pytest.importorskip("hqq", reason="the library of the cache in int8 and int4 is not installed")
    settings = {key: value for key, value in TINY["llama"].items() if key not in ("model_type", "architectures")}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings, pad_token_id=0))
    model.save_pretrained(tmp_path)
    work = Workload(prompt_tokens=200, new_tokens=39, batch=2, dtype="bf16", kv_dtype=kv_dtype)
    code = loading_code(subject("llama", str(tmp_path)), work).replace('device_map="cuda"', 'device_map="cpu"')
    scope: dict[str, Any] = {}
    exec("\n".join(line for line in code.splitlines() if not line.startswith("tokenizer")), scope)
    out = scope["model"].generate(
        torch.ones(2, 200, dtype=torch.long), min_new_tokens=40, max_new_tokens=40, do_sample=False,
        return_dict_in_generate=True, **scope["cache_options"],
    )  # fmt: skip
    assert type(out.past_key_values).__name__ == "QuantizedCache"
    held = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for layer in out.past_key_values.layers
        for value in vars(layer).values()
        for tensor in _tensors(value, torch)
    }
    assert sum(held.values()) == count_cache(subject("llama").architecture, work)


def _tensors(value: Any, torch: Any) -> Any:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, torch)


@pytest.mark.real
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("quant", ["none", "bnb-int8", "bnb-nf4", "bnb-nf4-dq", "bnb-fp4"])
@pytest.mark.parametrize("name", TINY)
def test_the_program_runs_against_the_installed_libraries(name: str, quant: Any, tmp_path: Any) -> None:
    """On a tiny model saved here, on the CPU: the very text of ``--code``, with only the device changed."""
    torch = pytest.importorskip("torch", reason="the measure extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the measure extra is not installed")
    pytest.importorskip("bitsandbytes", reason="the measure extra is not installed")
    raw = TINY[name]
    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    getattr(transformers, raw["architectures"][0])(config).save_pretrained(tmp_path)

    code = loading_code(subject(name, str(tmp_path)), Workload(prompt_tokens=8, quant=quant, attention="eager"))
    lines = [line for line in code.splitlines() if not line.startswith(("tokenizer", "processor"))]
    scope: dict[str, Any] = {}
    exec("\n".join(lines).replace('device_map="cuda"', 'device_map="cpu"'), scope)

    model = scope["model"]
    assert type(model).__name__ == raw["architectures"][0]
    assert auto_class(subject(name)) == AUTO[name]
    assert AUTO[name] in code
    with torch.no_grad():
        assert torch.isfinite(model(**example_inputs(name, torch, model)).logits.float()).all()
    assert (getattr(model, "quantization_method", None) is not None) == (quant != "none")

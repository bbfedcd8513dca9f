"""bitsandbytes bytes equal those of its real layers, quantized on the CPU."""

from __future__ import annotations

from typing import Any

import pytest

from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.facts.read import parse_config
from gpufit.memory.weights import count_weights

bnb = pytest.importorskip("bitsandbytes", reason="the measure extra is not installed")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

OPTIONS = {
    "bnb-int8": {"load_in_8bit": True},
    "bnb-nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "bnb-nf4-dq": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "bnb-fp4": {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"},
}
SHAPES = [(64, 64), (96, 80), (33, 70), (512, 130), (1376, 512)]

LLAMA = {
    "model_type": "llama", "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 500, "architectures": ["LlamaForCausalLM"],
}  # fmt: skip
GPT2 = {
    "model_type": "gpt2", "n_embd": 96, "n_layer": 2, "n_head": 4, "vocab_size": 300, "n_positions": 64,
    "architectures": ["GPT2LMHeadModel"],
}  # fmt: skip
T5 = {
    "model_type": "t5", "d_model": 64, "d_ff": 128, "d_kv": 16, "num_heads": 4, "num_layers": 2, "vocab_size": 200,
    "architectures": ["T5ForConditionalGeneration"],
}  # fmt: skip
BERT = {
    "model_type": "bert", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "vocab_size": 200, "architectures": ["BertForMaskedLM"],
}  # fmt: skip


def parts_of(weight: Any) -> list[int]:
    """Bytes of each tensor that stands for one quantized weight."""
    if isinstance(weight, bnb.nn.Int8Params):
        return [weight.data.nbytes, weight.SCB.nbytes]
    state = weight.quant_state
    parts = [weight.data.nbytes, state.absmax.nbytes, state.code.nbytes]
    if state.nested:
        parts += [state.state2.absmax.nbytes, state.state2.code.nbytes, state.offset.nbytes]
    return parts


def real_layer(quant: str, outputs: int, inputs: int) -> Any:
    """A real bitsandbytes layer of that shape, quantized."""
    data = torch.randn(outputs, inputs, dtype=torch.float16)
    if quant == "bnb-int8":
        layer = bnb.nn.Linear8bitLt(inputs, outputs, bias=False, has_fp16_weights=False)
        layer.weight = bnb.nn.Int8Params(data, requires_grad=False, has_fp16_weights=False)
    else:
        nested = quant == "bnb-nf4-dq"
        kind = "fp4" if quant == "bnb-fp4" else "nf4"
        layer = bnb.nn.Linear4bit(inputs, outputs, bias=False, compress_statistics=nested, quant_type=kind)
        layer.weight = bnb.nn.Params4bit(data, requires_grad=False, compress_statistics=nested, quant_type=kind)
    return layer.to("cpu")


@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("quant", OPTIONS)
def test_a_layer_holds_the_tensors_that_the_format_lists(quant: str, outputs: int, inputs: int) -> None:
    assert sorted(parts_of(real_layer(quant, outputs, inputs).weight)) == sorted(
        MATRIX_PARTS[quant](outputs, inputs).values()
    )


@pytest.mark.parametrize("raw", [LLAMA, GPT2, T5, BERT], ids=lambda raw: str(raw["model_type"]))
@pytest.mark.parametrize("quant", OPTIONS)
def test_a_model_loaded_by_transformers_weighs_what_we_count(quant: str, raw: dict[str, Any], tmp_path: Any) -> None:
    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    model_class = getattr(transformers, raw["architectures"][0])
    model_class(config).to(torch.float16).save_pretrained(tmp_path)
    model = model_class.from_pretrained(
        tmp_path, dtype=torch.float16, device_map="cpu",
        quantization_config=transformers.BitsAndBytesConfig(**OPTIONS[quant], bnb_4bit_compute_dtype=torch.float16),
    )  # fmt: skip
    total = 0
    for parameter in model.parameters():
        quantized = isinstance(parameter, (bnb.nn.Int8Params, bnb.nn.Params4bit))
        total += sum(parts_of(parameter)) if quantized else parameter.nbytes

    assert count_weights(parse_config(raw), "fp16", quant).total_bytes == total

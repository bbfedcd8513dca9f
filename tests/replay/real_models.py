"""Small real models on the CPU, and torch's own profiler as the independent witness of their memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from gpufit.replay.build import model_class_for
from gpufit.replay.recording import Recording, live_curve
from gpufit.replay.training_step import TrainingSetup, make_optimizer, prepare_for_training, train

NUMBER_BYTES = 20
"""``tensor * 0.5``: the number is wrapped in a float64 twice (8 bytes each) and cast to fp32 (4) while the product is
made. Operators do that inside, where no dispatch mode looks; on CUDA such a number is an argument of the kernel.
"""

SMALL: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 112,
        "vocab_size": 320, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "gpt2": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 64, "n_head": 4, "n_layer": 2,
        "vocab_size": 320, "n_positions": 128,
    },
    "t5": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 64, "d_kv": 16, "d_ff": 128,
        "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "vocab_size": 320, "decoder_start_token_id": 0,
    },
    "bart": {
        "model_type": "bart", "architectures": ["BartForConditionalGeneration"], "d_model": 64, "encoder_layers": 2,
        "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128, "vocab_size": 320, "max_position_embeddings": 128,
    },
    "bert": {
        "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 320, "max_position_embeddings": 128,
    },
}  # fmt: skip


def above_weights(recording: Recording) -> int:
    return max(live_curve(recording)) - recording.resident_bytes


def real_model(raw: dict[str, Any], attention: str) -> Any:
    """The model with random weights in fp32 on the CPU."""
    import torch
    import transformers

    settings = {key: value for key, value in raw.items() if key not in ("model_type", "architectures")}
    config = transformers.AutoConfig.for_model(raw["model_type"], **settings)
    model = model_class_for(raw, config)._from_config(config, dtype=torch.float32, attn_implementation=attention)
    model.tie_weights()
    torch.set_num_threads(1)  # such small operations only wait for further threads
    return model.eval()


def quantized_on_cpu(model: Any, quant: str) -> Any:
    """The model with bitsandbytes' own layers in place of its linear ones, its weights really quantized."""
    import bitsandbytes as bnb
    import torch
    import transformers
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    eight = quant == "bnb-int8"
    config: Any = transformers.BitsAndBytesConfig(
        load_in_8bit=eight, load_in_4bit=not eight, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32,
        bnb_4bit_use_double_quant=quant == "bnb-nf4-dq",
    )  # fmt: skip
    plain = dict(model.named_modules())
    with torch.device("meta"):
        replace_with_bnb_linear(
            model, modules_to_not_convert=get_keys_to_not_convert(model), quantization_config=config
        )
    for name, layer in model.named_modules():
        if not isinstance(layer, (bnb.nn.Linear8bitLt, bnb.nn.Linear4bit)):
            continue
        weight, layer.bias = plain[name].weight.data, plain[name].bias
        if type(plain[name]).__name__ == "Conv1D":  # GPT-2 keeps its weights transposed
            weight = weight.t().contiguous()
        make, more = (bnb.nn.Int8Params, {"has_fp16_weights": False}) if eight else (
            bnb.nn.Params4bit, {"quant_type": "nf4", "compress_statistics": quant == "bnb-nf4-dq", "module": layer}
        )  # fmt: skip
        layer.weight = make(weight, requires_grad=False, **more)
    model.is_loaded_in_8bit, model.is_loaded_in_4bit = eight, not eight
    return model.requires_grad_(False).to("cpu")


class Silent:
    """A tracker that does not look: no dispatch mode changes what autograd does."""

    def watching(self, *_: Any) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def phase(self, *_: Any, counted: bool = True) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class Idle(Silent):
    """A tracker that keeps nothing either, under a dispatch mode that changes nothing."""

    def watching(self, *_: Any) -> contextlib.AbstractContextManager[Any]:
        from torch.utils._python_dispatch import TorchDispatchMode

        class Mode(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                return func(*args, **(kwargs or {}))

        return Mode()


def profiled_step(model: Any, setup: TrainingSetup, *, tokens: int, tracker: Silent | None = None) -> int:
    """What the profiler saw of two training steps at most, nobody else looking."""
    model = prepare_for_training(model, setup)
    optimizer = make_optimizer(model, setup.optimizer)
    blind: Any = tracker or Silent()
    return profiled_peak(lambda: train(model, blind, optimizer, tokens=tokens, batch=2, device="cpu"))


def profiled_peak(run: Callable[[], object]) -> int:
    """The highest sum of allocations less frees that torch.profiler saw."""
    import gc

    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as witness:
        run()
    events = [event for event in witness.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak

"""Which engine a row names, in whatever spelling, and who predicts it."""

from __future__ import annotations

import re
from collections.abc import Callable

from gpufit.accuracy.cards import Card
from gpufit.accuracy.measurements import Measurement
from gpufit.accuracy.prediction import Prediction, Refusal
from gpufit.facts.architecture import Architecture

Predictor = Callable[[Measurement, Architecture, Card, int], "Prediction | Refusal"]

# spelling without case and punctuation -> the module of this folder that predicts it
_MODULES: dict[str, str] = {
    "transformers": "transformers", "hf": "transformers", "huggingface": "transformers",
    "hftransformers": "transformers",
    "huggingfacetransformers": "transformers", "transformersgenerate": "transformers", "torch": "transformers",
    "pytorch": "transformers", "transformersaccelerate": "transformers",
    "vllm": "vllm", "vllmv0": "vllm", "vllmv1": "vllm", "vllmserve": "vllm", "vllmopenai": "vllm",
    "llamacpp": "llama_cpp", "llamaserver": "llama_cpp", "llamacli": "llama_cpp", "llamabench": "llama_cpp",
    "llamacpppython": "llama_cpp", "ggml": "llama_cpp",
    "autoawq": "autoawq", "autoawqtransformers": "autoawq", "awq": "autoawq",
    "exllama": "exllama", "exllamav1": "exllama",
    "gptqforllama": "gptq_for_llama", "gptqforllamatransformers": "gptq_for_llama",
    "gptfast": "gpt_fast", "torchaogptfast": "gpt_fast",
}  # fmt: skip
# engines that people measure with, and what of theirs gpufit does not know
_UNKNOWN_OF: dict[str, str] = {
    "textgenerationinference": "it fills the card with cache after a warm-up of its own",
    "tgi": "it fills the card with cache after a warm-up of its own",
    "sglang": "it fills the card by its own mem_fraction_static",
    "tensorrtllm": "its engines are compiled and its pools are its own",
    "ctranslate2fasterwhisper": "its converted weights and beams are its own",
    "fasterwhisper": "its converted weights and beams are its own",
    "ctranslate2": "its converted weights and beams are its own",
    "openaiwhisper": "its modelling code is not transformers'",
    "whispercpp": "its buffers are not llama.cpp's",
    "exllamav2": "its scratch and cache are its own",
    "ollama": "it chooses llama.cpp's options by itself; give its llama.cpp buffers as engine llama.cpp",
    "mlx": "it shares the host's memory",
    "onnxruntime": "its arenas are its own",
}


def module_of(engine: str) -> str | Refusal:
    """The module that predicts an engine.

    >>> module_of("llama.cpp"), module_of("HF"), module_of("GPTQ-for-LLaMa(transformers)")
    ('llama_cpp', 'transformers', 'gptq_for_llama')
    >>> module_of("text-generation-inference").reason
    'the runtime text-generation-inference is not estimated: it fills the card with cache after a warm-up of its own'
    """
    plain = re.sub(r"[^a-z0-9]", "", engine.lower())
    if (found := _MODULES.get(plain)) is not None:
        return found
    why = _UNKNOWN_OF.get(plain, "gpufit knows transformers, vLLM and llama.cpp, and some older loaders")
    return Refusal(reason=f"the runtime {engine[:40]} is not estimated: {why}")


def predictor_of(engine: str) -> Predictor | Refusal:
    """The function that predicts an engine's rows."""
    name = module_of(engine)
    if isinstance(name, Refusal):
        return name
    from importlib import import_module

    predictor: Predictor = import_module(f"{__name__}.{name}").predict_row
    return predictor

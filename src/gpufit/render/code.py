"""The Python that loads a configuration with transformers 5: what ``--code`` prints."""

from __future__ import annotations

from gpufit.facts.dtypes import TORCH_NAME
from gpufit.memory.workload import Quantization, Workload
from gpufit.units import format_gib
from gpufit.verdict.check import Check, Subject

_AUTO_CLASS = (
    ("ForCausalLM", "AutoModelForCausalLM"),
    ("LMHeadModel", "AutoModelForCausalLM"),
    ("ForMaskedLM", "AutoModelForMaskedLM"),
    ("ForPreTraining", "AutoModelForPreTraining"),
    ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    ("ForTokenClassification", "AutoModelForTokenClassification"),
    ("ForQuestionAnswering", "AutoModelForQuestionAnswering"),
    ("ForMultipleChoice", "AutoModelForMultipleChoice"),
    ("ForImageClassification", "AutoModelForImageClassification"),
)
_AUTO_CLASS_OF_TASK = {
    "seq2seq": "AutoModelForSeq2SeqLM",
    "speech": "AutoModelForSpeechSeq2Seq",
    "vision-language": "AutoModelForImageTextToText",
}
_PROCESSOR_OF_TASK = {"speech": "AutoProcessor", "vision-language": "AutoProcessor", "vision": "AutoImageProcessor"}
ATTENTION = {"eager": "eager", "sdpa": "sdpa", "flash": "flash_attention_2"}
_BITSANDBYTES: dict[Quantization, dict[str, str]] = {
    "bnb-int8": {"load_in_8bit": "True"},
    "bnb-nf4": {"load_in_4bit": "True", "bnb_4bit_quant_type": '"nf4"'},
    "bnb-nf4-dq": {"load_in_4bit": "True", "bnb_4bit_quant_type": '"nf4"', "bnb_4bit_use_double_quant": "True"},
    "bnb-fp4": {"load_in_4bit": "True", "bnb_4bit_quant_type": '"fp4"'},
}
# the cache formats of gpufit.memory.kv_cache as transformers' QuantizedCache takes them
_CACHE_CONFIG = {
    "fp8": '{"backend": "fp8"}',
    "int8": '{"backend": "hqq", "nbits": 8}',
    "int4": '{"backend": "hqq", "nbits": 4}',
}


_TORCH_DEVICE = {"Apple": "mps", "Intel": "xpu"}  # AMD's builds of torch call their cards cuda


def auto_class(subject: Subject) -> str:
    """The Auto class that loads this model."""
    model_class = subject.architecture.model_class
    for ending, name in _AUTO_CLASS:
        if model_class.endswith(ending):
            return name
    if model_class.endswith("ForConditionalGeneration"):
        return _AUTO_CLASS_OF_TASK.get(subject.architecture.task, "AutoModelForCausalLM")
    return "AutoModel"


def quantization_arguments(workload: Workload) -> str | None:
    """The ``quantization_config=`` expression; None where the checkpoint is loaded as it is stored."""
    if workload.quant == "fp8":
        return "FineGrainedFP8Config()"
    arguments = _BITSANDBYTES.get(workload.quant)
    if arguments is None:
        return None
    if "load_in_4bit" in arguments:
        arguments = {**arguments, "bnb_4bit_compute_dtype": f"torch.{TORCH_NAME[workload.dtype]}"}
    return "BitsAndBytesConfig(" + ", ".join(f"{key}={value}" for key, value in arguments.items()) + ")"


def render_code(check: Check) -> str:
    """A program that loads the recommended configuration, or the asked one where nothing better is known.

    A serving runtime is started by a command instead, which is then the answer.
    """
    plan = check.recommended_plan or check.runtime_plan
    if plan is not None:
        return (_warning(check) if check.recommendation is None else "") + plan.command + "\n"
    if check.recommendation is not None:
        return loading_code(
            check.subject, check.recommendation.workload, check.device.count, vendor=check.device.vendor
        )
    own = loading_code(check.subject, check.asked.workload, check.device.count, vendor=check.device.vendor)
    return _warning(check) + own


def _warning(check: Check) -> str:
    """A comment above what is not known to fit."""
    budget = format_gib(check.asked.budget_bytes)
    if check.verdict != "unknown":
        return f"# This does not fit: nothing that was tried fits {budget}.\n"
    least = format_gib(check.asked.process.low_bytes)
    return f"# Nobody knows whether this fits {budget}: it takes {least} and its activations, which are unknown.\n"


def loading_code(subject: Subject, workload: Workload, devices: int = 1, *, vendor: str | None = None) -> str:
    """Python source for transformers 5, accelerate and bitsandbytes; ends with a newline."""
    model_class = auto_class(subject)
    config = quantization_arguments(workload)
    processor = _PROCESSOR_OF_TASK.get(subject.architecture.task, "AutoTokenizer")
    if subject.architecture.task == "vision" and len(subject.architecture.stacks) > 1:
        processor = "AutoProcessor"  # CLIP and its kin take text beside pictures
    imports = sorted({model_class, processor, *([config.partition("(")[0]] if config else [])})
    source = subject.hub_id or subject.name
    if source.endswith((".json", ".safetensors")):
        source = source.rpartition("/")[0] or "."  # transformers loads folders
    lines = ["import torch", f"from transformers import {', '.join(imports)}", "", f'model_id = "{source}"']
    if workload.quant in ("gptq-int4-g128", "awq-int4-g128"):
        lines.append(f"# {workload.quant} is made beforehand: name a repository that holds such weights")
    lines += [
        f"{'processor' if processor != 'AutoTokenizer' else 'tokenizer'} = {processor}.from_pretrained(model_id)",
        f"model = {model_class}.from_pretrained(",
        "    model_id,",
        f"    dtype=torch.{TORCH_NAME[workload.dtype]},",
    ]
    if config:
        lines.append(f"    quantization_config={config},")
    lines += [
        f'    attn_implementation="{ATTENTION[workload.attention]}",',
        f'    device_map="{"auto" if devices > 1 else _TORCH_DEVICE.get(vendor or "", "cuda")}",',
        ")",
    ]
    cache = _CACHE_CONFIG.get(workload.kv_dtype or "")
    if cache and subject.architecture.generates:
        needs = " (pip install hqq)" if "hqq" in cache else ""
        lines += [
            f"# for the {workload.kv_dtype} cache{needs}: model.generate(..., **cache_options)",
            f'cache_options = {{"cache_implementation": "quantized", "cache_config": {cache}}}',
        ]
    return "\n".join(lines) + "\n"

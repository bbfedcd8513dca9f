"""Options that several commands share, so that they read and complete alike everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer


def complete_model(incomplete: str) -> list[str]:
    """Catalog names that begin with what was typed."""
    from gpufit.api import load_catalog

    names = (entry.name for entry in load_catalog(None, os.environ).entries)
    return [name for name in names if name.startswith(incomplete.lower())]


def complete_gpu(incomplete: str) -> list[str]:
    """Names of the GPU table that begin with what was typed."""
    from gpufit.devices.table import load_gpus

    return [name for name in load_gpus(os.environ).names() if name.startswith(incomplete.lower())]


def complete_family(incomplete: str) -> list[str]:
    """Families of the catalog in small letters and without spaces, as ``--family`` takes them too."""
    from gpufit.api import load_catalog

    names = {entry.family.lower().replace(" ", "-") for entry in load_catalog(None, os.environ).entries}
    return sorted(name for name in names if name.startswith(incomplete.lower()))


def complete_word(module: str, name: str) -> Callable[[str], list[str]]:
    """Words of a tuple that a module holds, loaded when the shell asks."""

    def complete(incomplete: str) -> list[str]:
        words: tuple[str, ...] = getattr(import_module(f"gpufit.{module}"), name)
        return [word for word in words if word.startswith(incomplete.lower())]

    return complete


Model = Annotated[
    str,
    typer.Argument(
        help="Catalog name, Hub id, folder, config.json, .safetensors or .gguf.", autocompletion=complete_model
    ),
]
Vram = Annotated[str | None, typer.Option(help="Memory to judge against: 16, 16GB, 16GiB, 15360MiB.")]
Gpu = Annotated[
    str | None, typer.Option(help="A card by name: t4, rtx-4090, a100-80gb, t4x2.", autocompletion=complete_gpu)
]
Reserve = Annotated[str, typer.Option(help="Memory to leave free, for example 1GiB.")]
Context = Annotated[int | None, typer.Option(help="Prompt and new tokens of one sequence.")]
Prompt = Annotated[int | None, typer.Option(help="Tokens that go in at once.")]
NewTokens = Annotated[int | None, typer.Option(help="Tokens to generate.")]
Images = Annotated[int | None, typer.Option(help="Pictures a sequence, whose tokens are part of the prompt.")]
Batch = Annotated[int, typer.Option(help="Sequences at a time.")]
Dtype = Annotated[str | None, typer.Option(help="fp32, fp16 or bf16; the checkpoint's own by default.")]
Quant = Annotated[
    str | None,
    typer.Option(
        help="bnb-int8, bnb-nf4, bnb-nf4-dq, bnb-fp4, gptq-int4-g128, awq-int4-g128, fp8, mxfp4 or none.",
        autocompletion=complete_word("memory.workload", "QUANTIZATIONS"),
    ),
]
KvDtype = Annotated[
    str | None,
    typer.Option(
        help="A smaller cache: fp8, int8, int4; with vllm fp8, with llama.cpp its own types (q8_0, q4_0).",
        autocompletion=complete_word("memory.kv_cache", "KV_DTYPES"),
    ),
]
Attention = Annotated[
    str | None,
    typer.Option(help="eager, sdpa or flash.", autocompletion=complete_word("memory.workload", "ATTENTION_KERNELS")),
]
CatalogFile = Annotated[Path | None, typer.Option("--catalog", help="A catalog file that extends the shipped one.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]

Runtime = Annotated[
    str,
    typer.Option(
        help="The library that runs the model: transformers, vllm or llama.cpp.",
        autocompletion=complete_word("verdict.plan", "RUNTIMES"),
    ),
]
Revision = Annotated[str | None, typer.Option(help="A branch, tag or commit of a Hub id.")]
ViaTransformers = Annotated[
    bool,
    typer.Option("--via-transformers", help="Let the installed transformers build a family that has no reader here."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Count tight as not fitting.")]
Code = Annotated[bool, typer.Option("--code", help="Print the Python that loads the recommendation.")]
Fits = Annotated[bool, typer.Option("--fits", help="Only what fits, each with its best quantization.")]
Family = Annotated[
    str | None, typer.Option(help="Only this family, for example llama.", autocompletion=complete_family)
]
Task = Annotated[
    str | None,
    typer.Option(
        help="causal-lm, seq2seq, encoder, embedding, vision-language, speech or vision.",
        autocompletion=complete_word("verdict.listing", "TASKS"),
    ),
]
MaxParams = Annotated[str | None, typer.Option(help="At most this many parameters: 7B, 350M.")]
Sort = Annotated[
    str,
    typer.Option(
        help="catalog, name, parameters, process, headroom or context.",
        autocompletion=complete_word("verdict.listing", "SORT_KEYS"),
    ),
]

Train = Annotated[str | None, typer.Option(help="Train it instead: full, lora or qlora.")]
MicroBatch = Annotated[int | None, typer.Option(help="Training: sequences at a time on each GPU (8).")]
Seq = Annotated[int | None, typer.Option(help="Training: tokens of a sequence (1024, or the model's maximum).")]
GradAccum = Annotated[int | None, typer.Option(help="Training: micro-batches before each optimizer step (1).")]
Precision = Annotated[
    str | None, typer.Option(help="Training: fp32, bf16, fp16, amp-bf16 or amp-fp16; the checkpoint's own by default.")
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        help="Training: adamw-fused (default), adamw-foreach, adamw-loop, adamw-8bit, paged-adamw-8bit, "
        "paged-adamw-32bit, adafactor, sgd, sgd-momentum, lion, lion-8bit or galore."
    ),
]
Checkpointing = Annotated[
    str | None, typer.Option(help="Training: none, full or selective; full where k-bit preparation runs.")
]
LoraR = Annotated[int | None, typer.Option("--lora-r", help="Training: rank of the adapters (8).")]
LoraTargets = Annotated[
    str | None, typer.Option(help="Training: q_proj,v_proj or all-linear; peft's choice for the family by default.")
]
ModulesToSave = Annotated[str | None, typer.Option(help="Training: modules that are trained whole beside adapters.")]
Dora = Annotated[bool, typer.Option("--dora", help="Training: DoRA adapters.")]
KbitPrepare = Annotated[
    bool, typer.Option("--kbit-prepare", help="Training: peft's prepare_model_for_kbit_training (on for qlora).")
]
NoKbitPrepare = Annotated[bool, typer.Option("--no-kbit-prepare", help="Training: without it.")]
Loss = Annotated[
    str | None, typer.Option(help="Training: full, chunked or fused; whether the logits are ever whole (full).")
]
Packing = Annotated[bool, typer.Option("--packing", help="Training: sequences are filled, without padding.")]
Sharding = Annotated[
    str | None, typer.Option(help="Training: ddp, fsdp1, fsdp2, zero1, zero2, zero3 or pipeline over several GPUs.")
]
Offload = Annotated[str | None, typer.Option(help="Training: none, optimizer or all, to host memory.")]

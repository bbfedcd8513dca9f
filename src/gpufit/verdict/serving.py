"""From what the user asked of vLLM or llama.cpp to a Workload: their formats, caches and ranks."""

from __future__ import annotations

from gpufit.devices.device import Device
from gpufit.errors import Undecided, Unsupported, UsageError
from gpufit.facts.architecture import Architecture
from gpufit.facts.built import BUILT
from gpufit.memory.workload import GGUF_QUANTIZATIONS, Quantization, Workload
from gpufit.records import replace

# What `vllm serve` loads: online (fp8, bitsandbytes) or as a checkpoint is stored
_VLLM_FORMATS = frozenset({"none", "stored", "fp8", "mxfp4", "gptq-int4-g128", "awq-int4-g128", "bnb-nf4"})
_VLLM_CACHES = ("fp16", "bf16", "fp8")  # --kv-cache-dtype auto or fp8, config/cache.py
_FP8_CACHE_SINCE = (8, 0)


def gguf_quantization(wanted: str | None) -> Quantization | None:
    """The GGUF mixture that ``--quant`` names, with or without its prefix; None where it names none of them.

    >>> gguf_quantization("Q4_K_M"), gguf_quantization("bnb-nf4")
    ('gguf-q4_k_m', None)
    """
    word = (wanted or "").lower()
    return next((known for known in GGUF_QUANTIZATIONS if word in (known, known.removeprefix("gguf-"))), None)


def plan_mixture(architecture: Architecture, wanted: str | None) -> Quantization | None:
    """The mixture asked for, else what a checkpoint's own format is converted to; None for a file's own, or a mistake.

    Source: convert_hf_to_gguf.py, which keeps MXFP4 experts and unpacks FP8 to 16 bits.
    """
    files = architecture.stored
    if wanted is not None or (files is not None and files.format == "gguf"):
        return gguf_quantization(wanted)
    return "gguf-mxfp4" if architecture.config_quantization == "mxfp4" else "none"


def half_precision(device: Device | None) -> str:
    """What fp32 checkpoints are served in. Source: vLLM, config/model.py, _resolve_auto_dtype."""
    return "bf16" if device is not None and "bf16" in (device.dtypes or ()) else "fp16"


def check_served(workload: Workload, **given: str | int | None) -> None:
    """Raises Unsupported or UsageError for a format or cache that the runtime does not have, and for ``given`` options.

    vLLM chooses among its attention kernels itself, llama.cpp takes its flash kernel; neither is counted with pictures.
    """
    idle = [f"--{name}" for name, value in given.items() if value]
    if idle:
        raise UsageError(
            f"{' and '.join(idle)} cannot be chosen for {workload.runtime} here", hint=f"leave {' and '.join(idle)} out"
        )
    if workload.runtime == "vllm":
        if workload.quant not in _VLLM_FORMATS:
            raise Unsupported(f"vLLM does not load {workload.quant}", hint=f"use {', '.join(sorted(_VLLM_FORMATS))}")
        if workload.kv_dtype is not None and workload.kv_dtype not in _VLLM_CACHES:
            raise UsageError(
                f"vLLM has no cache format {workload.kv_dtype[:40]!r}",
                hint=f"--kv-dtype takes {', '.join(_VLLM_CACHES)}",
            )
        return
    from gpufit.memory.llama_cpp.cache import cache_type

    cache_type(workload.kv_dtype)
    if workload.dtype == "fp32" and workload.quant in ("none", "stored"):
        raise Unsupported("llama.cpp is counted for files in 16 bits and fewer", hint="use --dtype fp16")
    if workload.quant not in ("none", "stored", *GGUF_QUANTIZATIONS):
        raise Unsupported(f"llama.cpp does not load {workload.quant}", hint=f"use {', '.join(GGUF_QUANTIZATIONS)}")


def smaller_cache(runtime: str, device: Device) -> str | None:
    """The runtime's 8-bit cache where this card runs it.

    >>> smaller_cache("vllm", Device(name="T4", source="given", compute_capability=(7, 5))) is None
    True
    """
    if runtime == "llama.cpp":
        return "q8_0"
    return "fp8" if _stores_fp8(device) else None


def _stores_fp8(device: Device) -> bool:
    """vLLM 0.33.0: FlashInfer from compute capability 8.0 on (supports_compute_capability), else Triton from 8.9 on."""
    return device.compute_capability is None or device.compute_capability >= _FP8_CACHE_SINCE


def for_device(workload: Workload, device: Device) -> Workload:
    """The workload with what a runtime reads off the device: its size, its generation, and in vLLM the ranks."""
    return replace(
        workload, device_total_bytes=device.total_bytes, compute_capability=device.compute_capability,
        tensor_parallel=device.count if workload.runtime == "vllm" else 1,
    )  # fmt: skip


def refuse_unknown(architecture: Architecture, device: Device | None, workload: Workload) -> None:
    """Raises Undecided for a family that has no reader; Unsupported for llama.cpp on several devices, or a cache in
    fp8 where vLLM has no kernel for it.

    What a server profiles follows the family's blocks, and transformers told its tensors alone.
    """
    if architecture.form == BUILT:
        raise Undecided(
            f"gpufit does not know how {workload.runtime} runs {architecture.model_type}",
            hint="--runtime transformers gives a lower bound",
        )
    if workload.runtime == "vllm" and workload.kv_dtype == "fp8" and device is not None and not _stores_fp8(device):
        own = device.compute_capability or (0, 0)
        raise Unsupported(
            f"vLLM's fp8 cache needs compute capability 8.0, and {device.name} has {own[0]}.{own[1]}",
            hint="leave --kv-dtype out",
        )
    if workload.runtime == "llama.cpp" and device is not None and device.count > 1:
        raise Unsupported(
            f"llama.cpp over {device.count} GPUs is not counted for {architecture.model_type}",
            hint="give one GPU; --runtime vllm shares layers between several",
        )

"""What runs on whose cards: quantizations and attention on NVIDIA by generation, elsewhere by what libraries publish.

Where nobody publishes it, the answer is unknown, and a note says so; advice never leans on an unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from gpufit.devices.device import Device
from gpufit.errors import Unsupported
from gpufit.memory.workload import AttentionKernel, Quantization, Runtime
from gpufit.verdict.needs import NEEDS

Support = Literal["yes", "no", "unknown"]

# bitsandbytes 0.50.2, README, "Accelerator support", Linux: LLM.int8() and 4-bit alike.
_BNB_AMD = ("gfx908", "gfx90a", "gfx942", "gfx950", "gfx1250", "gfx101", "gfx103", "gfx110", "gfx115", "gfx120")
_BNB_INTEL = ("arc", "data center gpu max")
# torch 2.13, testing/_internal/common_cuda.py, evaluate_platform_supports_flash_attention on ROCm
_FUSED_AMD = ("gfx90a", "gfx942", "gfx1100", "gfx1201", "gfx950")


def is_elsewhere(device: Device | None) -> bool:
    """Whether the card is known to be of another vendor than NVIDIA."""
    return device is not None and device.vendor not in ("NVIDIA", None)


def quant_support(device: Device, quant: Quantization) -> Support:
    """Whether the kernels of a quantization run on this card. On NVIDIA an unknown generation is not held against it.

    >>> radeon = Device(name="Radeon RX 7900 XTX", source="given", vendor="AMD", architecture="gfx1100")
    >>> [quant_support(radeon, quant) for quant in ("none", "bnb-nf4", "awq-int4-g128")]
    ['yes', 'yes', 'unknown']
    """
    if not is_elsewhere(device):
        capability = device.compute_capability
        return "yes" if capability is None or capability >= NEEDS.get(quant, (0, 0)) else "no"
    if quant == "none":
        return "yes"
    if quant.startswith("bnb-"):
        return _bitsandbytes(device)
    if quant in ("fp8", "mxfp4") and device.vendor == "Apple":
        return "no"  # transformers 5.23.0, quantizer_finegrained_fp8.py and quantizer_mxfp4.py: unpacked to bf16
    return "unknown"


def _bitsandbytes(device: Device) -> Support:
    if device.vendor == "Apple":
        return "yes"  # Apple M1 and later, macOS 14
    if device.vendor == "AMD" and device.architecture is not None:
        return "yes" if device.architecture.startswith(_BNB_AMD) else "no"
    if device.vendor == "Intel":
        return "yes" if any(name in device.name.lower() for name in _BNB_INTEL) else "unknown"
    return "unknown"


def choose_sdpa(device: Device | None) -> tuple[AttentionKernel, str]:
    """``sdpa`` where its memory is counted here, and what to say of it; ``eager`` where torch has no fused kernel.

    Without one torch takes its math path, which holds the scores of all heads at once as eager attention does.

    >>> choose_sdpa(Device(name="Radeon RX 6800", source="given", vendor="AMD", architecture="gfx1030"))[0]
    'eager'
    """
    if device is None or not is_elsewhere(device):
        return "sdpa", ""
    if device.vendor == "AMD" and device.architecture is not None:
        if device.architecture.startswith(_FUSED_AMD):
            return "sdpa", ""
        return (
            "eager",
            f"torch has no fused attention for {device.architecture}: eager attention is planned and counted",
        )
    unknown = f"what sdpa holds on {device.name} was not measured: counted as on CUDA; --attention eager counts more"
    return "sdpa", unknown


def vendor_notes(device: Device | None, runtime: Runtime = "transformers") -> tuple[str, ...]:
    """What the estimate leaves open on a card that is not NVIDIA's."""
    if device is None or not is_elsewhere(device):
        return ()
    if runtime != "transformers":
        return (f"what {runtime} holds on {device.name} was not measured: counted as on CUDA",)
    return (f"runtime: the context of {device.vendor}'s driver was not measured; the range is that of NVIDIA's",)


def check_quant(device: Device, quant: Quantization, note: Callable[[str], None]) -> None:
    """Refuse what the card is known not to run; say what nobody knows."""
    support = quant_support(device, quant)
    if support == "unknown":
        note(f"whether the kernels of {quant} run on {device.name} is unknown here")
    if support != "no":
        return
    if is_elsewhere(device):
        what = device.architecture or device.name
        raise Unsupported(f"{quant} has no kernels for {what}", hint="use fp16 or bf16, or another card")
    needs, own = NEEDS.get(quant, (0, 0)), device.compute_capability or (0, 0)
    raise Unsupported(
        f"{quant} needs compute capability {needs[0]}.{needs[1]}, and {device.name} has {own[0]}.{own[1]}",
        hint="use bnb-nf4 or fp16",
    )


def check_attention(device: Device, kernel: AttentionKernel, note: Callable[[str], None]) -> None:
    """Refuse an attention kernel that the card is known not to run; say what nobody knows."""
    if is_elsewhere(device):
        if kernel == "flash" and device.vendor == "Apple":  # transformers 5.23.0, FLASH_ATTENTION_COMPATIBILITY_MATRIX
            raise Unsupported("flash attention 2 does not run on Metal", hint="use --attention sdpa")
        if kernel == "flash":
            note(f"whether flash attention 2 runs on {device.name} is unknown here; counted as on CUDA")
        if kernel == "sdpa" and choose_sdpa(device)[1]:
            note(f"what sdpa holds on {device.name} was not measured: counted as on CUDA")
        return
    own = device.compute_capability
    if kernel == "flash" and own is not None and own < (8, 0):
        raise Unsupported(
            f"flash attention 2 needs compute capability 8.0, and {device.name} has {own[0]}.{own[1]}",
            hint="use --attention sdpa",
        )

"""From what the user asked to a whole Workload: defaults filled, impossible wishes refused with a reason."""

from __future__ import annotations

from collections.abc import Callable

from gpufit.devices.device import Device
from gpufit.errors import UnknownName, Unsupported, UsageError
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import parse_dtype
from gpufit.facts.kernels import attention_kernels
from gpufit.memory.kv_cache import CACHE_FORMATS, KV_DTYPES, packs_cache
from gpufit.memory.workload import ATTENTION_KERNELS, QUANTIZATIONS, AttentionKernel, Quantization, Runtime, Workload
from gpufit.records import record
from gpufit.verdict.driver_context import measured_context
from gpufit.verdict.needs import STORED
from gpufit.verdict.vendors import check_attention, check_quant, choose_sdpa, quant_support, vendor_notes

RUNTIMES: tuple[Runtime, ...] = ("transformers", "vllm", "llama.cpp")
DEFAULT_CONTEXT_TOKENS = 4096
DEFAULT_NEW_TOKENS = 256
LARGEST_BATCH = 1 << 20
LARGEST_CONTEXT = 1 << 30
LARGEST_IMAGES = 1 << 12


@record
class Request:
    """What the user said; None where nothing was said."""

    context: int | None = None
    prompt: int | None = None
    new_tokens: int | None = None
    batch: int = 1
    dtype: str | None = None
    quant: str | None = None
    kv_dtype: str | None = None
    attention: str | None = None
    runtime: str = "transformers"
    images: int | None = None


def plan_workload(
    architecture: Architecture, device: Device | None, request: Request
) -> tuple[Workload, tuple[str, ...]]:
    """The workload to estimate, and notes on what was assumed or changed.

    Raises UsageError for impossible numbers (a context beyond the model's maximum) and Unsupported for what the family
    or the card cannot run.
    """
    notes: list[str] = []
    longest = architecture.max_context_tokens
    _refuse_needless(architecture, _check_tokens(request, longest))
    prompt, new_tokens = plan_tokens(request, longest=longest, generates=architecture.generates)
    if type(request.batch) is not int or not 1 <= request.batch <= LARGEST_BATCH:
        raise UsageError(
            f"--batch {request.batch} is not from 1 to {LARGEST_BATCH:,}", hint="--batch 1 is one sequence"
        )
    if request.runtime not in RUNTIMES:
        raise UnknownName.among("runtime", request.runtime, RUNTIMES, hint=f"--runtime takes {', '.join(RUNTIMES)}")
    if request.runtime != "transformers":
        return _plan_served(architecture, device, request, prompt, new_tokens)
    quant = plan_quant(architecture, device, request.quant, notes.append)
    dtype = plan_dtype(architecture, device, request.dtype, quant, notes.append)
    workload = Workload(
        prompt_tokens=prompt,
        new_tokens=new_tokens,
        batch=request.batch,
        dtype=dtype,
        quant=quant,
        kv_dtype=_plan_cache(architecture, dtype, request.kv_dtype),
        attention=plan_attention(architecture, device, request.attention, notes.append),
        compute_capability=device.compute_capability if device else None,
        driver_context=measured_context(device),
        images=_plan_images(architecture, request.images, prompt),
    )
    return workload, (*notes, *vendor_notes(device))


def _plan_served(
    architecture: Architecture, device: Device | None, request: Request, prompt: int, new_tokens: int
) -> tuple[Workload, tuple[str, ...]]:
    """The workload of vLLM or llama.cpp, which have formats and caches of their own."""
    from gpufit.verdict.serving import check_served, for_device, half_precision, plan_mixture, refuse_unknown

    notes: list[str] = []
    mixture = plan_mixture(architecture, request.quant) if request.runtime == "llama.cpp" else None
    quant = mixture or plan_quant(architecture, device, request.quant, notes.append)
    dtype = plan_dtype(architecture, device, request.dtype, "none", notes.append)
    workload = Workload(
        prompt_tokens=prompt, new_tokens=new_tokens, batch=request.batch, quant=quant,
        dtype=half_precision(device) if dtype == "fp32" and request.dtype is None else dtype,
        kv_dtype=request.kv_dtype.lower() if request.kv_dtype else None,
        runtime=next(known for known in RUNTIMES if known == request.runtime),
    )  # fmt: skip
    check_served(workload, attention=request.attention, images=request.images)
    refuse_unknown(architecture, device, workload)
    return (for_device(workload, device) if device else workload), (*notes, *vendor_notes(device, workload.runtime))


def _check_tokens(request: Request, longest: int | None) -> dict[str, int]:
    """The numbers of tokens that were given, by option."""
    given = {}
    for name, value, low in (
        ("--context", request.context, 1), ("--prompt", request.prompt, 1), ("--new-tokens", request.new_tokens, 0),
    ):  # fmt: skip
        if value is not None and type(value) is not int:
            raise UsageError(f"{name} {str(value)[:40]!r} is not a whole number", hint=_example(name, longest))
        if value is not None and not low <= value <= LARGEST_CONTEXT:
            raise UsageError(f"{name} {value} is not from {low} to {LARGEST_CONTEXT:,}", hint=_example(name, longest))
        if value:
            given[name] = value
    return given


def plan_tokens(request: Request, *, longest: int | None, generates: bool) -> tuple[int, int]:
    """Prompt and new tokens for a model with this longest context (None: no bound).

    >>> plan_tokens(Request(context=1024), longest=2048, generates=True)
    (768, 256)
    """
    _check_tokens(request, longest)
    context, prompt, new_tokens = request.context, request.prompt, request.new_tokens
    if context is None:
        limit = min(DEFAULT_CONTEXT_TOKENS, longest or DEFAULT_CONTEXT_TOKENS)
        said = (prompt or 0) + (new_tokens or 0)
        if prompt is not None:
            default_new = min(DEFAULT_NEW_TOKENS, max(0, limit - prompt)) if generates else 0
            context = prompt + (default_new if new_tokens is None else new_tokens)
        else:
            context = max(limit, said + 1 if said else 0)
    if longest is not None and context > longest:
        raise UsageError(
            f"a context of {context:,} tokens is beyond the model's maximum of {longest:,}",
            hint=f"use --context {longest} or less",
        )
    if new_tokens is None and prompt is None:
        new_tokens = min(DEFAULT_NEW_TOKENS, context // 2) if generates else 0
    if new_tokens is None:
        assert prompt is not None  # narrowed by the line above
        new_tokens = context - prompt
    if prompt is None:
        prompt = context - new_tokens
    if prompt < 1 or new_tokens < 0 or prompt + new_tokens != context:
        raise UsageError(
            f"prompt {prompt:,} and new tokens {new_tokens:,} do not make a context of {context:,}",
            hint="give two of --context, --prompt and --new-tokens; the prompt needs at least one token",
        )
    return prompt, new_tokens


def _example(flag: str, longest: int | None) -> str:
    return f"use {flag} {min(1024, longest or 1024)}"


def _refuse_needless(architecture: Architecture, given: dict[str, int]) -> None:
    """Raises UsageError for a number of tokens that this model's work does not have."""
    if not architecture.generates and "--new-tokens" in given:
        raise UsageError(
            f"{architecture.model_type} is an encoder and generates no tokens", hint="leave --new-tokens out"
        )
    if architecture.task == "vision" and architecture.stack("text") is None and given:
        raise UsageError(
            f"{architecture.model_type} sees pictures of one size and takes no tokens",
            hint=f"leave {' and '.join(given)} out; --batch counts pictures",
        )


def pictures_asked(architecture: Architecture) -> int:
    """Tokens of a picture, for models that are asked about pictures and whose are known; else 0."""
    if architecture.task != "vision-language":
        return 0
    from gpufit.memory.activations.pictures import picture_tokens

    return picture_tokens(architecture)


def _plan_images(architecture: Architecture, wanted: int | None, prompt: int) -> int:
    """Pictures a sequence: one where nothing is said, the family's are known and the prompt has room for it."""
    tokens = pictures_asked(architecture)
    if wanted is None:
        return int(0 < tokens < prompt)
    if type(wanted) is not int or not 0 <= wanted <= LARGEST_IMAGES:
        raise UsageError(f"--images {wanted} is not from 0 to {LARGEST_IMAGES:,}", hint="use --images 1")
    if wanted and not tokens:
        sees = "gpufit knows no formula for its pictures" if architecture.task == "vision-language" else "it reads none"
        raise Unsupported(f"{architecture.model_type} cannot be given pictures here: {sees}", hint="use --images 0")
    if wanted * tokens >= prompt:
        raise UsageError(
            f"--images {wanted} takes {wanted * tokens:,} tokens and leaves no room in a prompt of {prompt:,}",
            hint=f"use --prompt {wanted * tokens + 1} or more",
        )
    return wanted


def plan_dtype(
    architecture: Architecture,
    device: Device | None,
    wanted: str | None,
    quant: Quantization,
    note: Callable[[str], None],
) -> str:
    """The format of the plain weights: as asked, else as stored, where the card computes it."""
    runs = device.dtypes if device else None
    if wanted is not None:
        dtype = parse_dtype(wanted)
        if dtype not in ("fp32", "fp16", "bf16"):
            raise UsageError(f"--dtype {dtype} is a storage format", hint=f"use --quant {dtype}, or fp32, fp16, bf16")
        if dtype == "bf16" and runs is not None and "bf16" not in runs:
            name = device.name if device else "this card"
            raise Unsupported(f"{name} has no bf16 arithmetic (it needs compute capability 8.0)", hint="use fp16")
        return dtype
    dtype = parse_dtype(architecture.dtype) if architecture.dtype else "fp16"
    if dtype not in ("fp32", "fp16", "bf16"):
        dtype = "bf16"
    if dtype == "fp32" and quant != "none":
        dtype = "bf16" if runs is not None and "bf16" in runs else "fp16"
        note(f"stored in fp32; what {quant} does not convert is assumed to be loaded in {dtype}")
    if dtype == "bf16" and runs is not None and "bf16" not in runs:
        note("stored in bf16, which this card does not compute; fp16 is assumed")
        return "fp16"
    return dtype


def plan_quant(
    architecture: Architecture, device: Device | None, wanted: str | None, note: Callable[[str], None]
) -> Quantization:
    """The quantization by name, or the one that the checkpoint is stored in."""
    if wanted is None:
        return _stored_quant(architecture, device, note)
    for known in QUANTIZATIONS:
        if known != wanted.lower():
            continue
        if device is not None:
            check_quant(device, known, note)
        return known
    raise UnknownName.among("quantization", wanted, QUANTIZATIONS, hint=f"--quant takes {', '.join(QUANTIZATIONS)}")


def _stored_quant(architecture: Architecture, device: Device | None, note: Callable[[str], None]) -> Quantization:
    """What an already quantized checkpoint is loaded as when nothing is said."""
    if architecture.stored is not None and architecture.stored.method is not None:
        note(f"counted as the files hold it: {architecture.stored.quant or architecture.stored.method}")
        return "stored"
    method = architecture.config_quantization
    if method is None:
        return "none"
    if method not in STORED:
        note(f"the checkpoint is stored in {method}, which is not counted from the configuration; 16 bits are assumed")
        return "none"
    quant, _ = STORED[method]
    support = "yes" if device is None else quant_support(device, quant)
    if support == "no":
        note(f"stored in {method}, whose kernels this card lacks: transformers unpacks it to 16 bits")
        return "none"
    note(f"stored in {method} and counted so; --quant none shows it unpacked")
    if support == "unknown" and device is not None:
        note(f"whether the kernels of {quant} run on {device.name} is unknown here")
    return quant


def _plan_cache(architecture: Architecture, dtype: str, wanted: str | None) -> str | None:
    """The cache as asked: transformers keeps it as computed, or packed where it can. None for the model's own dtype."""
    if wanted is None or wanted.lower() == dtype:
        return None
    found = wanted.lower()
    if found not in KV_DTYPES:
        raise UnknownName.among("cache format", wanted, KV_DTYPES, hint=f"--kv-dtype takes {', '.join(KV_DTYPES)}")
    if found not in CACHE_FORMATS:
        packed = ", ".join(CACHE_FORMATS)
        raise UsageError(
            f"transformers keeps the cache in the model's own {dtype}, not in {found}",
            hint=f"--dtype {found} changes both; --kv-dtype takes {packed}",
        )
    if not architecture.cache:
        raise UsageError(f"{architecture.model_type} keeps no cache", hint="leave --kv-dtype out")
    if not packs_cache(architecture):
        raise Unsupported(
            f"transformers keeps no {found} cache for {architecture.model_type}: it has one for decoders whose every "
            "layer attends to all tokens",
            hint="leave --kv-dtype out",
        )
    return found


def plan_attention(
    architecture: Architecture, device: Device | None, wanted: str | None, note: Callable[[str], None]
) -> AttentionKernel:
    """The attention as asked, else sdpa where the family has it."""
    supported = attention_kernels(architecture.model_type)
    if wanted is None:
        if "sdpa" not in supported:
            return "eager"
        chosen, doubt = choose_sdpa(device)
        if doubt:
            note(doubt)
        return chosen
    for known in ATTENTION_KERNELS:
        if known != wanted.lower():
            continue
        if known not in supported:
            raise Unsupported(
                f"{architecture.model_type} has no {known} attention in transformers",
                hint=f"use --attention {supported[-1]}",
            )
        if device is not None:
            check_attention(device, known, note)
        return known
    hint = f"--attention takes {', '.join(ATTENTION_KERNELS)}"
    raise UnknownName.among("attention", wanted, ATTENTION_KERNELS, hint=hint)

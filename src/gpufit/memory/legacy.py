"""What older versions of the libraries add to today's arithmetic, term by term.

Each term applies where ``versions.holds`` says so, and is zero for a workload that names no version.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations import Phase
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.segments import weight_rests
from gpufit.memory.versions import AWQ_PARTIAL_SUMS, holds
from gpufit.memory.weights import WeightBytes, weigh_groups
from gpufit.memory.workload import Workload
from gpufit.records import record, replace
from gpufit.units import MIB

PRINTED_STEP_BYTES = 16 * MIB
EXLLAMA_STATE_TOKENS = 2048  # AutoGPTQ 0.5 to 0.7, EXLLAMA_DEFAULT_MAX_INPUT_LENGTH
EXLLAMAV2_ROWS = 2048 * 8  # qlinear_exllamav2.py, scratch_space_fixed(max_input_len=2048, max_batch_size=8)


@record
class Extra:
    """One resident that today's library no longer has."""

    name: str
    bytes: Range


def extra_residents(architecture: Architecture, workload: Workload, weights: WeightBytes) -> tuple[Extra, ...]:
    """What stays on the device beside weights and cache: tables, kernels' buffers, rests of segments."""
    version, model = workload.library_version, architecture.model_type
    if version is None and workload.quant_kernel is None:
        return ()
    found = [Extra(name="rests of cached blocks", bytes=_cache_rests(architecture, workload))]
    stack = architecture.stacks[0]
    positions = max(architecture.max_context_tokens or 0, workload.context_tokens)  # the tables grow with the text
    if stack.attention and holds("rotary tables", version, model):
        width = stack.attention.rope_dim or stack.attention.head_dim
        table = 2 * stack.layers * positions * width * DTYPE_BYTES[workload.dtype]
        found.append(Extra(name="rotary tables", bytes=Range.exact(table)))
    if holds("mask table", version, model):
        found.append(Extra(name="mask table", bytes=Range.exact(positions * positions)))
    if workload.quant.startswith("gptq-"):
        found += _gptq_extras(architecture, workload, weights)
    if holds("own segments", version, model):
        rests = weight_rests(architecture, workload.dtype, workload.quant)
        found.append(Extra(name="rests of segments", bytes=Range(0, rests, rests)))
    return tuple(found)


def _cache_rests(architecture: Architecture, workload: Workload) -> Range:
    """What blocks of the growing cache may count beyond their own size: up to 1 MiB each where they are not split.

    Two blocks a layer, and as many once more for a cache that is built anew beside the old one. The low end allows for
    figures that were printed in steps of 0.01 GiB, and for one cuBLAS workspace less.
    """
    blocks = 2 * sum(layers.layers for layers in architecture.cache if layers.kind not in ("shared", "state"))
    if holds("two caches", workload.library_version, architecture.model_type) and workload.new_tokens > 1:
        blocks *= 2
    each = min(MIB, count_cache(architecture, workload) // max(1, blocks) // 8)
    return Range(-PRINTED_STEP_BYTES, 0, blocks * each + PRINTED_STEP_BYTES)


def _gptq_extras(architecture: Architecture, workload: Workload, weights: WeightBytes) -> list[Extra]:
    """Buffers of the GPTQ kernels, which are made once for the largest layer, and what each layer adds.

    exllama: one layer dequantized in fp16; with act-order also its inputs reordered. exllamav2: one layer dequantized
    and an output of 2,048 × 8 rows in fp32; two 16-bit permutations of the inputs wherever there are groups.
    Sources: AutoGPTQ 0.5.0 modeling/_utils.py (autogptq_post_init), nn_modules/qlinear/qlinear_exllamav2.py.
    """
    outputs, inputs = weights.largest_matrix
    layer = 2 * outputs * inputs
    state = 2 * EXLLAMA_STATE_TOKENS * max(outputs, inputs)
    widest = max((found.matrix[0] for found in weigh_groups(architecture, workload.dtype, workload.quant)), default=0)
    scratch = layer + 4 * widest * EXLLAMAV2_ROWS
    rows = [
        (found.matrix, found.quantized_copies)
        for found in weigh_groups(architecture, workload.dtype, workload.quant) if found.quantized_copies
    ]  # fmt: skip
    permutations = 4 * sum(matrix[1] * copies for matrix, copies in rows)
    kernel = workload.quant_kernel or "unknown"
    known = {
        "exllama": Range(layer, layer, layer + state),
        "exllamav1": Range(layer, layer, layer + state),
        "exllamav2": Range(scratch, scratch + permutations, scratch + permutations),
        "autogptq-cuda-old": ZERO,
    }
    unstated = (
        Range(0, layer, scratch + permutations) if "int4" in workload.quant else Range(0, 0, layer)
    )  # 4 bits alone
    found = [Extra(name=f"{kernel} kernel", bytes=known.get(kernel, unstated))]
    if holds("quantized biases", workload.library_version, architecture.model_type):
        biases = 2 * sum(matrix[0] * copies for matrix, copies in rows)
        found.append(Extra(name="biases of quantized layers", bytes=Range(0, biases, biases)))
    return found


def older_phases(architecture: Architecture, workload: Workload, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """The phases with the moments that older versions, or a plain forward call, widen."""
    version, model = workload.library_version, architecture.model_type
    stack = architecture.stacks[0]
    if architecture.is_encoder_decoder or not architecture.generates or not architecture.tensors.output:
        return phases
    if version is None and not workload.all_logits:
        return phases
    element = DTYPE_BYTES[workload.dtype]
    upcast = 4 if workload.dtype != "fp32" and holds("fp32 logits", version, model) else 0
    whole = workload.all_logits or holds("all logits", version, model)
    tokens = workload.batch * (workload.prompt_tokens if whole else 1)
    vocabulary = architecture.vocab_size
    found = []
    for phase in phases:
        if phase.name == "prefill":
            logits = tokens * (vocabulary * (element + upcast) + stack.hidden * element)
            if logits > phase.activation_bytes:
                phase = replace(phase, activation_bytes=logits, moment="logits of all positions")
            if workload.quant.startswith("awq-") and holds("awq partial sums", version, model):
                rows = workload.batch * workload.prompt_tokens
                sums = element * rows * (2 * stack.hidden + (AWQ_PARTIAL_SUMS + 2) * stack.mlp_width)
                if sums > phase.activation_bytes:
                    phase = replace(phase, activation_bytes=sums, moment="partial sums of a product")
        elif phase.name == "decode" and version is not None and workload.new_tokens < 2:
            continue  # the one new token is chosen from the prefill's logits and never fed back
        elif phase.name == "decode" and holds("two caches", version, model):
            phase = _two_caches(architecture, workload, phase, tokens * vocabulary * (upcast or element))
        found.append(phase)
    return tuple(found)


def _two_caches(architecture: Architecture, workload: Workload, phase: Phase, kept_logits: int) -> Phase:
    """A decode step that builds a whole new cache before the old one dies: the first step, or the last.

    Beside the first step the prefill's logits are still named. Both are given above the final cache.
    """
    final = count_cache(architecture, workload)  # counts the last token too, which is never fed back
    before = replace(workload, new_tokens=max(0, workload.new_tokens - 3))
    logits = workload.batch * architecture.vocab_size * (DTYPE_BYTES[workload.dtype] + 4)
    last = count_cache(architecture, before) + logits
    prompt = count_cache(architecture, workload, after_prefill=True)
    first = 2 * prompt + kept_logits - final
    if first > last:
        return replace(phase, activation_bytes=first, moment="two caches and the prefill's logits")
    return replace(phase, activation_bytes=last, moment="two caches")


def explain_older(phase: Phase) -> str | None:
    """The formula of a moment that only older versions have, in words."""
    texts = {
        "logits of all positions": "batch × prompt × (vocabulary × (dtype + fp32 copy) + hidden × dtype)",
        "partial sums of a product": "tokens × dtype × (2 × hidden + (8 + 1 + 1) × MLP width)",
        "two caches": "the step before's cache, still named, and one position's logits",
        "two caches and the prefill's logits": "the prompt's cache twice and the prefill's logits, still named",
    }
    text = texts.get(phase.moment)
    return f"{phase.name}, {phase.moment}: {text} = {phase.activation_bytes:,} bytes" if text else None

"""The allocator's slack, by playing the workload's requests through a simulation of the allocator.

``check`` states slack as a range by closed form; here there is time to do better: the weights as they are loaded,
the prompt layer by layer, and every decode step with the cache that it writes anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from gpufit.accuracy.requests import Device, Load, Sizes, decode, load, prompt
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.facts.quant_formats import MATRIX_PARTS
from gpufit.memory.activations.quantized import fused_rows
from gpufit.memory.estimate import Estimate
from gpufit.memory.versions import AWQ_PARTIAL_SUMS, holds
from gpufit.memory.weights import weigh_groups
from gpufit.records import record, replace

MOST_REQUESTS = 400_000  # a second or two; beyond it the closed range stands
MOST_TENSORS = 40_000
_OFTEN = 3  # runs after which what is reserved no longer grows


@record
class Play:
    """What stays, in the order of loading, and what runs; ``often``: several runs, the last result still at hand."""

    loads: tuple[Load, ...]
    at_once: bool
    sizes: Sizes
    often: bool = False


@record(kw_only=False)
class Peaks:
    """What torch would report of the first run, and what is reserved at the end."""

    allocated_bytes: int
    reserved_bytes: int


def play_of(estimate: Estimate, *, often: bool = False) -> Play | None:
    """What to play; None where the cache is not plain keys and values, or the run is too long."""
    architecture, workload = estimate.architecture, estimate.workload
    kinds = {layers.kind for layers in architecture.cache}
    stack = architecture.stacks[0]
    attention = stack.attention
    if kinds - {"full", "sliding"} or not kinds or attention is None or architecture.is_encoder_decoder:
        return None
    if workload.kv_dtype == "int8" or len(architecture.stacks) > 1:
        return None
    layers = sum(each.layers for each in architecture.cache)
    steps = max(0, workload.new_tokens - 1)
    if (4 * steps + 60) * layers > MOST_REQUESTS or sum(g.copies for g in architecture.tensors.groups) > MOST_TENSORS:
        return None
    version, model = workload.library_version, architecture.model_type
    whole = workload.all_logits or holds("all logits", version, model)
    rows = workload.batch * workload.prompt_tokens
    bits4 = workload.quant.startswith(("bnb-nf4", "bnb-fp4"))
    fused = 1 if version is not None else fused_rows(workload.compute_capability)
    partial = workload.quant.startswith("awq-") and holds("awq partial sums", version, model)
    return Play(
        loads=(*_loads(estimate), *_extras(estimate)),
        at_once=version is not None and not holds("own segments", version, model),
        sizes=Sizes(
            layers=layers, hidden=stack.hidden, queries=attention.heads * attention.head_dim,
            keys=architecture.cache[0].kv_heads * architecture.cache[0].key_dim, heads=attention.heads,
            wide=stack.mlp_width or (stack.experts.width if stack.experts else 0), gated=stack.gated,
            vocabulary=architecture.vocab_size, batch=workload.batch, prompt=workload.prompt_tokens,
            logit_rows=rows if whole else workload.batch, element=DTYPE_BYTES[workload.dtype],
            scores=workload.attention == "eager", dequantized=bits4 and rows > fused,
            partial_sums=AWQ_PARTIAL_SUMS if partial else 0, upcast=holds("fp32 logits", version, model),
            two_caches=holds("two caches", version, model), kept_logits=holds("kept outputs", version, model),
            steps=steps,
        ),
        often=often,
    )  # fmt: skip


def filled_in_few_steps(work: Play) -> Play:
    """The same cache, filled by a prompt that nothing is known of, and three steps."""
    s = work.sizes
    return replace(work, sizes=replace(s, prompt=max(1, s.prompt + s.steps - 3), steps=3, scores=False, logit_rows=1))


@lru_cache(maxsize=4096)
def play(work: Play) -> Peaks:
    """Run the requests.

    >>> small = Sizes(layers=2, hidden=64, queries=64, keys=64, heads=1, wide=64, gated=True, vocabulary=512, batch=1,
    ...               prompt=4, logit_rows=1)
    >>> play(Play(loads=(Load(3 << 20),), at_once=False, sizes=small))
    Peaks(allocated_bytes=3151872, reserved_bytes=23068672)
    """
    device = Device()
    load(device, work.loads, at_once=work.at_once)
    device.pool.reset_peaks()
    s, first = work.sizes, 0
    left: list[tuple[list, list]] = []  # type: ignore[type-arg]
    for _ in range(_OFTEN if work.often else 1):
        cache, logits = prompt(device, s)
        first = first or device.pool.peak_allocated_bytes
        for blocks in left:
            device.drop(*blocks[0], *blocks[1])
        left = [(cache, logits)]
        if s.steps and not work.often:
            break
    cache, logits = left.pop()
    if s.steps:
        if work.often:  # the passes came before; generate begins anew
            device.drop(*cache, *logits)
            cache, logits = prompt(device, s)
        decode(device, s, cache, logits)
        first = device.pool.peak_allocated_bytes
    return Peaks(first, device.pool.peak_reserved_bytes)


def _loads(estimate: Estimate) -> Iterator[Load]:
    """Every tensor that stays, block by block; a matrix quantized on the way stands beside its packed form."""
    architecture, workload = estimate.architecture, estimate.workload
    on_the_way = DTYPE_BYTES[workload.dtype] if workload.quant.startswith("bnb-") else 0
    blocks: dict[int, list[Load]] = {}
    outside: list[Load] = []
    for found in weigh_groups(architecture, workload.dtype, workload.quant):
        group, quantized = found.group, found.quantized_copies
        sizes: list[Load] = []
        if quantized and found.matrix != (0, 0) and workload.quant in MATRIX_PARTS:
            parts = list(MATRIX_PARTS[workload.quant](*found.matrix).values())
            matrices = max(1, found.quantized_bytes // sum(parts) // quantized)
            beside = found.matrix[0] * found.matrix[1] * on_the_way
            for _ in range(matrices):
                sizes += [Load(parts[0], beside), *(Load(part) for part in parts[1:])]
        kept = group.copies - quantized
        plain = [Load(found.kept_bytes // kept)] if kept and found.kept_bytes else []
        for copy in range(group.copies):
            into = blocks.setdefault(copy, []) if group.copies > 1 else outside
            into += sizes if copy < quantized else plain
    yield from outside[:1]
    for index in sorted(blocks):
        yield from blocks[index]
    yield from outside[1:]


def _extras(estimate: Estimate) -> Iterator[Load]:
    """Tables of each layer, kernels' buffers and the workspace; rests arise by themselves."""
    layers = max(1, estimate.architecture.stacks[0].layers)
    for extra in estimate.extras:
        if extra.name == "rotary tables":
            yield from [Load(extra.bytes.likely_bytes // (2 * layers))] * (2 * layers)
        elif not extra.name.startswith("rests") and extra.bytes.likely_bytes > 0:
            yield Load(extra.bytes.likely_bytes)
    yield Load(estimate.workspace.bytes.likely_bytes)

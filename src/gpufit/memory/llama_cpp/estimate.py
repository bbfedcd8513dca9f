"""llama.cpp with every layer on one GPU as an Estimate, so that verdict, solver and renderers treat it alike."""

from __future__ import annotations

from functools import lru_cache

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.memory.activations import Phase
from gpufit.memory.breakdown import Row
from gpufit.memory.estimate import Estimate
from gpufit.memory.llama_cpp.allocator import peak_bytes
from gpufit.memory.llama_cpp.cache import UBATCH_TOKENS, cache_type, count_kv_buffer
from gpufit.memory.llama_cpp.graph import Batch, layer_graph
from gpufit.memory.llama_cpp.weights import ModelBuffer, count_model_buffer
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.runtime import DRIVER_CONTEXT, RuntimeFact, runtime_fact
from gpufit.memory.weights import WeightBytes
from gpufit.memory.workload import Workload
from gpufit.records import replace
from gpufit.units import MIB

_SOURCE = "llama.cpp (llama-cpp-python 0.3.36)"
# ggml's CUDA backend beside its buffers: the pool of temporaries inside products (activations in q8_1, an unpacked F16
# weight where a product goes through cuBLAS) and cuBLAS's workspace; ggml/src/ggml-cuda/ggml-cuda.cu, not measured
POOL = RuntimeFact(since=(0, 0), bytes=Range(8 * MIB, 64 * MIB, 256 * MIB), source="ggml-cuda.cu, temporary pool")
DEFAULT_MIXTURE = {"fp16": "gguf-f16", "bf16": "gguf-bf16", "fp32": "gguf-f16"}


def mixture_of(workload: Workload) -> str:
    """The GGUF mixture of a workload; plain 16 bits where no quantization was asked for."""
    return DEFAULT_MIXTURE[workload.dtype] if workload.quant in ("none", "stored") else workload.quant


def _stored_bytes(architecture: Architecture, workload: Workload) -> int:
    """The device's part of a GGUF file as its header lists it; 0 where the model is no such file."""
    files = architecture.stored
    as_it_is = workload.quant in ("none", "stored")  # a file of plain 16-bit numbers has no quantization to name
    return files.device_bytes if as_it_is and files is not None and files.format == "gguf" else 0


def model_buffer_bytes(architecture: Architecture, workload: Workload) -> int:
    """The model on the GPU with every layer offloaded, as the file holds it or as it would be converted."""
    stored = _stored_bytes(architecture, workload)
    return stored or count_model_buffer(architecture, mixture_of(workload)).device_bytes


def estimate_llama_cpp(architecture: Architecture, workload: Workload) -> Estimate:
    """Model, KV and compute buffer with every layer offloaded, and ``batch`` slots of the whole context.

    Raises Undecided for designs whose graph is not modelled here, Unsupported for an unknown mixture.
    """
    buffer = count_model_buffer(architecture, mixture_of(workload))
    device = model_buffer_bytes(architecture, workload)
    cache = count_kv_buffer(
        architecture, workload.context_tokens, sequences=workload.batch, kv_type=workload.kv_dtype
    ).size_bytes
    compute = Range.exact(
        count_compute_buffer(architecture, workload.context_tokens, workload.batch, workload.kv_dtype)
    )
    context = runtime_fact(DRIVER_CONTEXT, workload.compute_capability)
    outside = context.bytes + POOL.bytes
    phase = Phase(
        name="prefill", cache_tokens=workload.context_tokens, activation_bytes=compute.likely_bytes,
        moment="one micro-batch",
    )  # fmt: skip
    allocated = Range.exact(device + cache) + compute
    return Estimate(
        architecture=architecture, workload=workload, weights=_weights(architecture, buffer, device),
        kv_cache_bytes=cache, activations=compute,
        workspace=RuntimeFact(since=(0, 0), bytes=ZERO, source="part of the pool"),
        context=replace(context, bytes=outside), slack=ZERO, phases=(phase,), phase=phase, allocated=allocated,
        reserved=allocated, process=allocated + outside, load_peak=Range.exact(device) + context.bytes,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def count_compute_buffer(
    architecture: Architecture,
    context_tokens: int,
    sequences: int = 1,
    kv_type: str | None = None,
    *,
    flash: bool = True,
    all_logits: bool = False,
    ubatch_tokens: int = UBATCH_TOKENS,
) -> int:
    """The CUDA compute buffer. ``all_logits`` is for builds up to 2025, which reserve logits for a whole micro-batch.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> round(count_compute_buffer(llama, 4096) / 2**20, 1)
    92.5

    Raises Undecided for recurrent mixers and for models with an encoder beside the decoder.
    """
    stack = architecture.stacks[0]
    if stack.mixer is not None or stack.attention is None or architecture.is_encoder_decoder:
        raise Undecided(
            f"llama.cpp's graph for {architecture.model_type} is not modelled, so its compute buffer is unknown",
            hint="use --runtime transformers",
        )
    cells = count_kv_buffer(architecture, context_tokens, ubatch_tokens=ubatch_tokens).cells
    tokens = min(ubatch_tokens, context_tokens * sequences)
    vocabulary = architecture.vocab_size if architecture.generates else 0
    outputs = tokens if all_logits else min(sequences, tokens)
    batch = Batch(tokens=tokens, cells=cells, outputs=outputs, flash=flash, cached=bool(architecture.cache))
    return peak_bytes(layer_graph(stack, vocabulary, batch))


def break_down_llama_cpp(e: Estimate) -> tuple[Row, ...]:
    """The rows of ``estimate_llama_cpp``; their bytes sum to the process total."""
    w = e.workload
    mixture = mixture_of(w)
    context = runtime_fact(DRIVER_CONTEXT, w.compute_capability)
    what = "the file's own tensors" if _stored_bytes(e.architecture, w) else f"every tensor in {mixture}"
    return (
        Row(
            name="weights", range=Range.exact(e.weights.total_bytes),
            formula=f"CUDA model buffer: {what}, the input embedding in main memory",
            source=f"{_SOURCE}, src/llama-quant.cpp and src/llama-model.cpp, load_tensors",
        ),
        Row(
            name="kv_cache", range=Range.exact(e.kv_cache_bytes),
            formula=f"KV buffer: {w.batch} slots × {w.context_tokens:,} tokens in {cache_type(w.kv_dtype).name}",
            source=f"{_SOURCE}, src/llama-kv-cache.cpp and src/llama-kv-cache-iswa.cpp",
        ),
        Row(
            name="activations", range=e.activations,
            formula=f"compute buffer: {UBATCH_TOKENS} tokens through the graph, as ggml lays its tensors out",
            source=f"{_SOURCE}, ggml/src/ggml-alloc.c and src/llama-graph.cpp",
        ),
        Row(
            name="runtime", range=e.context.bytes,
            formula=f"driver context {context.bytes.likely_bytes:,} + temporary pool {POOL.bytes.likely_bytes:,}",
            source=f"{context.source}; {POOL.source}",
        ),
        Row(name="slack", range=ZERO, formula="none: buffers are allocated whole", source="ggml/src/ggml-alloc.c"),
    )  # fmt: skip


def _weights(architecture: Architecture, buffer: ModelBuffer, device_bytes: int) -> WeightBytes:
    """The model buffer in the words of the other runtimes."""
    return WeightBytes(
        quantized_bytes=0, quantized_parameters=0, kept_bytes=device_bytes, kept_parameters=architecture.parameters,
        fp32_bytes=0, buffer_bytes=0, padding_bytes=0, block_bytes=sum(buffer.block_bytes), largest_matrix=(0, 0),
    )  # fmt: skip

"""What vLLM holds outside torch's allocator, and its CUDA graphs: tables with a source, a date and a range."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.memory.ranges import ZERO, Range
from gpufit.memory.runtime import RuntimeFact
from gpufit.memory.vllm.engine import Engine
from gpufit.units import MIB

# "non-torch memory" as vLLM prints it since 0.11, the driver's context apart: what libraries allocate during the
# profile run (kernels' modules, handles), and from two ranks on NCCL's channel buffers and the all-reduce's own
NON_TORCH_ALONE = RuntimeFact(
    since=(0, 0),
    bytes=Range(90 * MIB, 140 * MIB, 350 * MIB),
    source="vLLM 0.11.0 on H100, 0.13 to 0.14 GiB (llm-d-planner's published logs, 2026-04); 0.09 to 0.16 GiB before",
)
NON_TORCH_RANKS = RuntimeFact(
    since=(0, 0),
    bytes=Range(250 * MIB, 560 * MIB, 700 * MIB),
    source="vLLM 0.11.0 on 2 × H100, 0.54 to 0.55 GiB (llm-d-planner's logs, 2026-04); 0.25 to 0.59 elsewhere",
)
# Graphs of up to 67 batch sizes (compilation_config.cudagraph_capture_sizes), piecewise and whole
GRAPHS_DENSE = RuntimeFact(
    since=(0, 0),
    bytes=Range(50 * MIB, 100 * MIB, 1100 * MIB),
    source="vLLM 0.11.0 on H100: 0.10 GiB for a dense model of 28 layers (llm-d-planner's published logs, 2026-04)",
)
GRAPHS_EXPERTS = RuntimeFact(
    since=(0, 0),
    bytes=Range(100 * MIB, 700 * MIB, 1400 * MIB),
    source="vLLM 0.11.0 on H100: 0.39 and 1.03 GiB for experts, 24 and 36 layers (llm-d-planner's logs, 2026-04)",
)


def non_torch_memory(engine: Engine) -> RuntimeFact:
    """Memory of one rank outside torch, the driver's context apart.

    >>> non_torch_memory(Engine(version=(0, 11, 0), batched_tokens=2048, sequences=256)).bytes.likely_bytes
    146800640
    """
    return NON_TORCH_ALONE if engine.tensor_parallel == 1 else NON_TORCH_RANKS


def graph_memory(architecture: Architecture) -> RuntimeFact:
    """Memory of the captured graphs; encoders capture none."""
    stack = architecture.stacks[0]
    if not architecture.generates:
        return RuntimeFact(since=(0, 0), bytes=ZERO, source="no graphs are captured for a model that only encodes")
    return GRAPHS_EXPERTS if stack.experts is not None else GRAPHS_DENSE

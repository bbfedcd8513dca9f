"""A lower bound: what a model takes at least, where no formula says what its activations take.

Weights, cache, driver and workspace are counted as ever; what is not known is counted as nothing and named. So the sum
can prove that a model does not fit, and never that it does.
"""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations import Phase, supports
from gpufit.memory.estimate import Estimate, estimate
from gpufit.memory.kv_cache import count_cache
from gpufit.memory.loading import load_temporaries
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, DRIVER_CONTEXT, runtime_fact
from gpufit.memory.weights import count_weights
from gpufit.memory.workload import Workload


def unknown_rows(architecture: Architecture, workload: Workload) -> tuple[str, ...]:
    """The rows that gpufit cannot say for this model; empty where ``estimate`` knows all of them.

    The runtimes that serve have rules of their own, which refuse what they do not know.
    """
    if workload.runtime != "transformers":
        return ()
    lacking = () if supports(architecture.form) else ("activations",)
    return tuple(dict.fromkeys((*architecture.unknown_rows, *lacking)))


def estimate_known(architecture: Architecture, workload: Workload) -> Estimate:
    """``estimate`` where all rows are known, else ``estimate_floor``."""
    known = not unknown_rows(architecture, workload)
    return estimate(architecture, workload) if known else estimate_floor(architecture, workload)


def estimate_floor(architecture: Architecture, workload: Workload) -> Estimate:
    """The estimate with ``unknown_rows`` counted as nothing.

    >>> from gpufit.facts.read import parse_config
    >>> from gpufit.records import replace
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> floor = estimate_floor(replace(llama, form="built"), Workload(prompt_tokens=4095, new_tokens=1))
    >>> beside = floor.workspace.bytes.low_bytes + floor.weights.buffer_bytes + floor.weights.padding_bytes
    >>> floor.allocated.low_bytes - beside
    15624314880
    """
    weights = count_weights(architecture, workload.dtype, workload.quant)
    cache = count_cache(architecture, workload)
    workspace = runtime_fact(CUBLAS_WORKSPACE, workload.compute_capability)
    context = workload.driver_context or runtime_fact(
        DRIVER_CONTEXT, workload.compute_capability, workload.torch_version
    )
    resident = Range.exact(weights.total_bytes + weights.buffer_bytes + weights.padding_bytes)
    nothing = Range.exact(0)
    allocated = resident + Range.exact(cache) + workspace.bytes
    phase = Phase(
        name="decode" if workload.new_tokens and architecture.generates else "encode", cache_tokens=0,
        activation_bytes=0, moment="unknown", exact=False,
    )  # fmt: skip
    return Estimate(
        architecture=architecture, workload=workload, weights=weights, kv_cache_bytes=cache, activations=nothing,
        workspace=workspace, context=context, slack=nothing, phases=(phase,), phase=phase, allocated=allocated,
        reserved=allocated, process=allocated + context.bytes,
        load_peak=resident + load_temporaries(weights, DTYPE_BYTES[workload.dtype]) + context.bytes,
        unknown=unknown_rows(architecture, workload),
    )  # fmt: skip

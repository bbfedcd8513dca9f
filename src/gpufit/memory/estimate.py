"""estimate(): the whole arithmetic in one place. Everything that gpufit prints about memory comes from here."""

from __future__ import annotations

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations import Phase, estimate_phases
from gpufit.memory.kv_cache import count_cache, unpacked_layer_bytes
from gpufit.memory.legacy import Extra, extra_residents, older_phases
from gpufit.memory.loading import host_load_peak, load_temporaries
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, DRIVER_CONTEXT, RuntimeFact, runtime_fact
from gpufit.memory.slack import estimate_slack, outgrown_segments
from gpufit.memory.weights import WeightBytes, count_weights
from gpufit.memory.workload import QUANTIZATIONS, Workload
from gpufit.records import record, replace


@record
class Estimate:
    """What one workload needs on one device, by closed form.

    ``allocated`` is what torch's max_memory_allocated would show, ``reserved`` max_memory_reserved, ``process`` what
    nvidia-smi shows for the process; ``load_peak`` is the process while the weights come in. ``phase`` is the one that
    sets the run's peak. ``gpufit.memory.breakdown`` turns this record into rows.
    """

    architecture: Architecture
    workload: Workload
    weights: WeightBytes
    kv_cache_bytes: int
    activations: Range
    workspace: RuntimeFact
    context: RuntimeFact
    slack: Range
    phases: tuple[Phase, ...]
    phase: Phase
    allocated: Range
    reserved: Range
    process: Range
    load_peak: Range
    extras: tuple[Extra, ...] = ()
    unknown: tuple[str, ...] = ()  # rows that nothing is known of: counted as 0, so that the sums are lower bounds

    @property
    def resident(self) -> Range:
        """Weights, buffers and what else stays: the device right after loading, without the driver's part."""
        weights = self.weights
        whole = Range.exact(weights.total_bytes + weights.buffer_bytes + weights.padding_bytes)
        return sum((extra.bytes for extra in self.extras), whole)

    @property
    def host_load_peak(self) -> Range | None:
        """What loading takes of the host's memory; None for the runtimes that load by rules of their own."""
        if self.workload.runtime != "transformers":
            return None
        return host_load_peak(self.architecture, self.workload, self.weights)

    @property
    def elastic_slack_bytes(self) -> int:
        """The most that outgrown cache segments add to ``reserved`` and ``process`` on a card with room for them."""
        return outgrown_segments(self.architecture, self.workload) if self.workload.runtime == "transformers" else 0

    @property
    def tensors(self) -> Range:
        """The tensors alone at the run's peak: what a device without an allocator's rounding or a driver would hold."""
        weights = self.weights
        return Range.exact(weights.total_bytes + weights.buffer_bytes + self.kv_cache_bytes) + self.activations

    @property
    def peak(self) -> Range:
        """The larger of running and loading, the figure that has to fit: a model that runs may not load."""
        run, load = self.process, self.load_peak
        return load if load.likely_bytes > run.likely_bytes else run


def estimate(architecture: Architecture, workload: Workload) -> Estimate:
    """Bytes that the workload needs, as ranges.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> e = estimate(llama, Workload(prompt_tokens=4095, new_tokens=1))
    >>> e.weights.total_bytes + e.kv_cache_bytes
    15624314880

    Raises Unsupported where the family cannot take the quantization or the attention kernel.
    """
    if workload.runtime != "transformers":
        from gpufit.memory.serving import estimate_served

        return estimate_served(architecture, workload)
    weights = count_weights(architecture, workload.dtype, workload.quant)
    cache = count_cache(architecture, workload)
    phases = older_phases(architecture, workload, estimate_phases(architecture, as_computed(architecture, workload)))
    phase, above_cache = decisive_phase(architecture, workload, phases, cache)

    workspace = runtime_fact(CUBLAS_WORKSPACE, workload.compute_capability)
    context = workload.driver_context or runtime_fact(
        DRIVER_CONTEXT, workload.compute_capability, workload.torch_version, quantized=weights.quantized_bytes > 0
    )
    resident = Range.exact(weights.total_bytes + weights.buffer_bytes + weights.padding_bytes)
    extras = extra_residents(architecture, workload, weights)
    for extra in extras:
        resident += extra.bytes
    activations = Range.exact(above_cache)
    allocated = resident + Range.exact(cache + above_cache) + workspace.bytes
    slack = estimate_slack(architecture, workload, cache, above_cache)
    reserved = allocated + slack
    loading = load_temporaries(weights, DTYPE_BYTES[workload.dtype])
    return Estimate(
        architecture=architecture, workload=workload, weights=weights, kv_cache_bytes=cache, activations=activations,
        workspace=workspace, context=context, slack=slack, phases=phases, phase=phase, allocated=allocated,
        reserved=reserved, process=reserved + context.bytes, extras=extras,
        load_peak=resident + loading + context.bytes,
    )  # fmt: skip


def as_computed(architecture: Architecture, workload: Workload) -> Workload:
    """The workload with its weights' arithmetic named: stored weights compute as the format they are stored in.

    The GPTQ and AWQ kernels of earlier years dequantize inside the kernel or in a buffer made at loading (``legacy``).
    """
    if workload.library_version is not None and workload.quant.startswith(("gptq-", "awq-")):
        return replace(workload, quant="none")
    if workload.quant != "stored":
        return workload
    stored = architecture.stored.quant if architecture.stored else None
    return replace(workload, quant=next((known for known in QUANTIZATIONS if known == stored), "none"))


def decisive_phase(
    architecture: Architecture,
    workload: Workload,
    phases: tuple[Phase, ...],
    final_cache: int,
    part: tuple[int, int] = (1, 1),
) -> tuple[Phase, int]:
    """The phase with the highest peak, and that peak above the weights less the final cache.

    A prefill peaks over a smaller cache than the last decode step; both are compared in whole, and the row
    ``activations`` carries what stands above the cache at its final length. ``part`` is the share of the caching layers
    that one of several cards holds.
    """
    own, of = part
    final_cache = final_cache * own // of
    best, best_bytes = phases[0], -1
    for phase in phases:
        if not phase.cache_tokens:  # an encoder runs before there is a cache
            cache = 0
        elif phase.name == "decode":
            cache = final_cache + unpacked_layer_bytes(architecture, workload)
        else:
            cache = count_cache(architecture, workload, after_prefill=True) * own // of
        peak = cache + phase.activation_bytes
        if peak > best_bytes:
            best, best_bytes = phase, peak
    return best, max(0, best_bytes - final_cache)

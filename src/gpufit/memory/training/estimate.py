"""estimate_training(): what one training step needs on one device, phase by phase, and what the process shows."""

from __future__ import annotations

from gpufit.errors import Unsupported
from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.loading import load_temporaries
from gpufit.memory.ranges import Range
from gpufit.memory.runtime import CUBLAS_WORKSPACE, DRIVER_CONTEXT, RuntimeFact, runtime_fact
from gpufit.memory.segments import SMALL_BYTES
from gpufit.memory.slack import LARGE_SEGMENT_BYTES, SMALL_SEGMENT_BYTES
from gpufit.memory.training.micro import micro_bytes
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.sharding import Rank, hold_rank
from gpufit.memory.training.stages import Stage, stage_ranks
from gpufit.memory.training.states import Residents, count_residents
from gpufit.memory.training.step import MicroBytes, PhasePeak, first_step_bytes, lay_phases
from gpufit.memory.weights import count_weights
from gpufit.records import record
from gpufit.units import MIB

# cuBLAS keeps a workspace for each handle, and a handle belongs to a thread: autograd's backward runs in its own.
# Source: torch 2.13.0, aten/src/ATen/cuda/CublasHandlePool.cpp, getCUDABlasLtWorkspace and the thread-local pool.
WORKSPACES = 2
# NCCL's channels and their buffers on each rank: 4 MiB a channel and peer, 2 to 32 channels (NCCL 2.21, init.cc)
COLLECTIVES = Range(150 * MIB, 500 * MIB, 2048 * MIB)


@record
class TrainingEstimate:
    """What one training plan needs on the fullest of its devices.

    ``phases`` are forward, backward and step of a later step; ``phase`` is the highest. ``first_step_bytes`` is the
    allocated peak of the very first step. ``allocated`` is what torch's max_memory_allocated would show, ``reserved``
    max_memory_reserved, ``process`` what nvidia-smi shows. ``host_bytes`` is host memory over all ranks; ``stages`` is
    empty but for a pipeline.
    """

    architecture: Architecture
    plan: TrainingPlan
    residents: Residents
    rank: Rank
    micro: MicroBytes
    phases: tuple[PhasePeak, ...]
    phase: PhasePeak
    workspace: Range
    context: RuntimeFact
    collectives: Range
    slack: Range
    allocated: Range
    reserved: Range
    process: Range
    load_peak: Range
    first_step_bytes: int
    stages: tuple[Stage, ...] = ()

    @property
    def host_bytes(self) -> int:
        """Host memory of all ranks together: what is offloaded."""
        return self.plan.gpus * self.rank.host_bytes

    @property
    def peak(self) -> Range:
        """The larger of running and loading, the figure that has to fit."""
        run, load = self.process, self.load_peak
        return load if load.likely_bytes > run.likely_bytes else run

    def _above(self, name: str) -> int:
        return next(phase.above_bytes for phase in self.phases if phase.name == name)

    def tensors_in(self, name: str) -> int:
        """The tensors alone at the peak of one phase: no allocator's rounding and no workspaces, as on a processor."""
        held = self.residents
        lasting = held.model_bytes + held.buffers_bytes + held.optimizer.states_bytes
        return lasting + self._above(name)

    def allocated_in(self, name: str) -> Range:
        """What torch's max_memory_allocated would show of one phase of a later step."""
        return Range.exact(self.rank.lasting_bytes + self._above(name)) + self.workspace + _unsplit(self.architecture)

    def phase_bytes(self, name: str) -> int:
        """The allocated peak of one phase, workspaces included."""
        return self.rank.lasting_bytes + self._above(name) + self.workspace.likely_bytes


def estimate_training(
    architecture: Architecture, plan: TrainingPlan, *, sums_in_place: bool = True
) -> TrainingEstimate:
    """Bytes that the plan needs on each of its devices, as ranges.

    ``sums_in_place`` is False for a run under a tracker, where autograd writes sums of gradients anew.

    Raises Unsupported where the family cannot take the quantization, the targets or the attention, and Undecided where
    its activations in training are not known.
    """
    residents = count_residents(architecture, plan)
    if not residents.trained:
        raise Unsupported("this plan trains nothing", hint="use --train full, or name modules for the adapters")
    micro = micro_bytes(architecture, plan, sums_in_place=sums_in_place)
    stages: tuple[Stage, ...] = ()
    rank = hold_rank(architecture, plan, residents)
    if plan.sharding == "pipeline" and plan.gpus > 1:
        stages = stage_ranks(architecture, plan, rank, micro)
        worst = max(stages, key=lambda stage: stage.peak_bytes)
        rank, micro = worst.rank, worst.micro
    phases = lay_phases(rank, micro, plan)
    phase = max(phases, key=lambda peak: peak.above_bytes)

    fact = runtime_fact(CUBLAS_WORKSPACE, plan.compute_capability)
    workspace = sum((fact.bytes for _ in range(WORKSPACES - 1)), fact.bytes)
    context = plan.driver_context or runtime_fact(DRIVER_CONTEXT, plan.compute_capability, plan.torch_version)
    collectives = COLLECTIVES if plan.gpus > 1 and plan.sharding != "pipeline" else Range(0, 0, 0)
    allocated = Range.exact(rank.lasting_bytes + phase.above_bytes) + workspace + _unsplit(architecture)
    slack = training_slack(phases)
    reserved = allocated + slack
    # what bitsandbytes pages lives on the device while there is room
    paged = Range(0, 0, rank.paged_bytes)
    process = reserved + context.bytes + collectives + paged
    weights = count_weights(architecture, plan.base_dtype, plan.quant)
    loaded = Range.exact(rank.lasting_bytes - rank.states_bytes)
    load_peak = loaded + load_temporaries(weights, DTYPE_BYTES[plan.base_dtype]) + context.bytes
    return TrainingEstimate(
        architecture=architecture, plan=plan, residents=residents, rank=rank, micro=micro, phases=phases, phase=phase,
        workspace=workspace, context=context, collectives=collectives, slack=slack, allocated=allocated,
        reserved=reserved, process=process, load_peak=load_peak, first_step_bytes=first_step_bytes(rank, phases),
        stages=stages,
    )  # fmt: skip


def _unsplit(architecture: Architecture) -> Range:
    """What memory_allocated may show beyond the temporaries: a rest of up to 1 MiB of a large block is not split off.

    Each layer leaves a few tensors for backward and some more are in flight; the low end is one workspace that a run
    without matrix products in its backward thread never takes. Source: c10/cuda/CUDACachingAllocator.cpp, should_split.
    """
    layers = sum(stack.layers for stack in architecture.stacks)
    return Range(-CUBLAS_WORKSPACE[0].bytes.likely_bytes, 0, SMALL_BYTES * (layers + 16))


def training_slack(phases: tuple[PhasePeak, ...]) -> Range:
    """Reserved minus allocated.

    Low: the open segment of the small pool. Phases ask for tensors of other sizes, so that what one leaves cached need
    not serve the next: likely an eighth of the widest phase's temporaries, at most half of them more. All of it is
    elastic: before CUDA runs out the allocator gives its cached segments back, so a full card runs with less, and a
    card with much room may show far more (``gpufit validate`` allows for that).
    Source: published pairs of max_memory_allocated and max_memory_reserved on a T4, median 0.12 of what is allocated.
    """
    widest = max(phase.temporaries_bytes + phase.step_bytes for phase in phases)
    likely = SMALL_SEGMENT_BYTES + LARGE_SEGMENT_BYTES + widest // 8
    return Range(SMALL_SEGMENT_BYTES, likely, likely + widest // 2)

"""Which vLLM, and what its scheduler takes at a time when nobody says: this decides the peak of the profile run."""

from __future__ import annotations

import re

from gpufit.errors import UsageError
from gpufit.facts.architecture import Architecture
from gpufit.memory.workload import Workload
from gpufit.records import record
from gpufit.units import GIB

Version = tuple[int, int, int]
NEWEST: Version = (0, 33, 0)

# Where the arithmetic changed: the first of the releases that were read (see the package) which has it.
V1_ENGINE_SINCE: Version = (0, 8, 0)  # the V1 engine is the default: chunked prefill always, logits on every rank
HYBRID_POOL_SINCE: Version = (0, 11, 0)  # kv_cache_utils.py: windows drop blocks; at 0.8.2 they cache all tokens
SORT_FREE_SAMPLER_SINCE: Version = (0, 17, 0)  # v1/sample/ops/topk_topp_triton.py: no sorted copies of the logits
UTILIZATION_092_SINCE: Version = (0, 20, 0)  # config/cache.py: gpu_memory_utilization 0.92; 0.9 up to 0.18
LARGEST_TIER_SINCE: Version = (0, 33, 0)  # engine/arg_utils.py: 16,384 tokens from 160 GiB on; not yet at 0.24

# engine/arg_utils.py, get_batch_defaults (0.33.0), _set_default_args (0.11.0): usage context OPENAI_API_SERVER
_LARGE_CARD_BYTES = 70 * GIB
_LARGEST_CARD_BYTES = 160 * GIB
_A100 = (8, 0)  # the source excludes cards named "a100"; 8.0 is theirs alone among cards of 70 GiB and more
_V0_LONG_CONTEXT_TOKENS = 32768  # engine/arg_utils.py (0.6.4): chunked prefill by default above this
_V0_CHUNK_TOKENS = 2048  # config.py, 0.7: 512 up to 0.6.4
_V0_OLD_CHUNK_TOKENS = 512
_V0_MOST_SEQUENCES = 256  # engine/arg_utils.py (0.6.4), max_num_seqs

_VERSION = re.compile(r"(?:vllm\s*)?v?(\d+)\.(\d+)(?:\.(\d+))?", re.IGNORECASE)


@record
class Engine:
    """One vLLM engine: its release and what its scheduler runs at once."""

    version: Version
    batched_tokens: int  # max_num_batched_tokens
    sequences: int  # max_num_seqs
    tensor_parallel: int = 1

    @property
    def is_v1(self) -> bool:
        """Whether it is the V1 engine."""
        return self.version >= V1_ENGINE_SINCE

    @property
    def default_utilization_percent(self) -> int:
        """``--gpu-memory-utilization`` when it is not given, in percent."""
        return 92 if self.version >= UTILIZATION_092_SINCE else 90


def parse_version(text: str) -> Version:
    """The release in a text such as ``vLLM 0.11.0``; the newest one read when it names none.

    >>> parse_version("vLLM 0.11.0"), parse_version("0.8.5.post1"), parse_version("")
    ((0, 11, 0), (0, 8, 5), (0, 33, 0))
    """
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else NEWEST


def make_engine(
    architecture: Architecture,
    workload: Workload,
    *,
    version: Version = NEWEST,
    batched_tokens: int | None = None,
    sequences: int | None = None,
) -> Engine:
    """The engine that ``vllm serve`` starts for this workload: context is max_model_len, the batch runs at once.

    Raises UsageError where the ranks cannot share the attention heads evenly.
    """
    ranks = workload.tensor_parallel
    attention = architecture.stacks[0].attention
    if attention is not None and attention.heads % ranks:
        raise UsageError(
            f"{attention.heads} attention heads cannot be shared by {ranks} GPUs in vLLM",
            hint="use a number of GPUs that divides the heads",
        )
    default_tokens, default_sequences = _defaults(workload, version)
    at_once = sequences if sequences is not None else max(default_sequences, workload.batch)
    if version >= V1_ENGINE_SINCE and not architecture.cache:
        default_tokens = max(default_tokens, workload.context_tokens)  # an encoder's prompt cannot be cut into chunks
    tokens = batched_tokens if batched_tokens is not None else default_tokens
    return Engine(
        version=version, batched_tokens=tokens, sequences=min(at_once, tokens), tensor_parallel=ranks
    )  # fmt: skip


def _defaults(workload: Workload, version: Version) -> tuple[int, int]:
    """max_num_batched_tokens and max_num_seqs by release and card."""
    length = workload.context_tokens
    if version < V1_ENGINE_SINCE:
        chunk = _V0_CHUNK_TOKENS if version >= (0, 7, 0) else _V0_OLD_CHUNK_TOKENS
        return (chunk if length > _V0_LONG_CONTEXT_TOKENS else max(length, 2048)), _V0_MOST_SEQUENCES
    total = workload.device_total_bytes or 0
    if total >= _LARGEST_CARD_BYTES and version >= LARGEST_TIER_SINCE:
        return 16384, 1024
    if total >= _LARGE_CARD_BYTES and workload.compute_capability not in (_A100, (12, 1)):
        return 8192, 1024
    return 2048, 256

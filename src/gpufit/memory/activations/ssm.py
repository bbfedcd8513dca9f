"""State-space decoders: Mamba, Falcon-Mamba and Mamba-2, in the torch code that runs without the optional CUDA kernels.

Derived from transformers 5.23.0, models/{mamba, falcon_mamba, mamba2}/modeling_*.py. The kernels of mamba-ssm and
causal-conv1d never write out what follows and lower it by far; where they are not installed, this is what runs.

Mamba, prefill (mamba_selective_scan): ``discrete_A``, ``discrete_B`` and ``deltaB_u`` hold one fp32 number per token,
channel and state, and stay named until the function returns: 12·T·i·s bytes. Its widest instant is the skip connection:
beside them the outputs of all steps as a list (b) and stacked (b), then ``hidden_states * D`` and the sum in fp32 (8),
or that sum, silu(gate) and their product (4 + b + 4), which is the same; dt, its projection and the convolved input
(3·b), the input projection (2·i·b). The layer's own state is not in the cache yet but is named, so the two cancel.

Mamba-2, prefill (mamba2_chunk_scan): the decay matrix L, the products G of B and C, and M = G·L hold m·Q fp32 numbers
per padded token and stay named: 12·p·Q·m. B, C and B_decay are repeated to all heads (m·s), and seven tensors of the
inner width live at ``output + D_residual``. Where states are wide, reading them is wider (``copies_of``).

Decode: one step's discretized A, B·x, the old state times A and the new state beside the cached one, all of the state's
size. The residual stream is fp32 where the configuration says so (``residual_in_fp32``, the default of these families).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, steps
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, B, Expr, P, Q, Sizes, T, V, b, g, h, i, m, p, s, t, x, y
from gpufit.memory.workload import Workload

Copies = Literal["none", "C", "C and states"]
_NORMED = ("falcon_mamba", "jamba")
MIXED = i + 2 * (g * s)  # channels of Mamba-2's convolution


def copies_of(batch: int, tokens: int, chunk: int) -> Copies:
    """What torch.einsum("bclhn,bchpn->bclhp", C, states) lays out anew before its batched product.

    C is (batch, chunks, tokens, heads, state): heads become the product's batch by a view where there is one sequence
    of one chunk. The states are a slice along the chunks, and merge into a batch where it holds one chunk only.

    >>> copies_of(1, 64, 64), copies_of(2, 64, 64), copies_of(1, 65, 64)
    ('none', 'C', 'C and states')
    """
    if tokens > chunk:
        return "C and states"
    return "C" if batch > 1 else "none"


def selective_scan(c: Setting, copies: Copies) -> tuple[Moment, ...]:
    """MambaMixer above the residual stream and its normalized input."""
    rank = NOTHING if c.variant in _NORMED else t  # a norm's copies of dt, B and C free x_proj; dt's goes at dt_proj
    projections = T * b * (4 * i + rank + 2 * s)  # in_proj, the convolved input, x_proj, dt_proj
    upcast = 8 * i if c.half else NOTHING  # D and the bias of dt in fp32
    if c.decode:
        return (
            Moment("state update", T * i * s * 20 + T * b * i + projections + 4 * (i * s) + (4 * i if c.half else 0),
                   "discretized A and B, B·x, the old state times A and the new one, the projections"),
        )  # fmt: skip
    return (
        Moment("selective scan", T * i * s * 12 + T * i * 8 + T * b * (3 * i) + projections + 4 * (i * s) + upcast,
               "A, B and B·x per token, channel and state in fp32, outputs as a list and stacked, the skip connection"),
    )  # fmt: skip


def chunk_scan(c: Setting, copies: Copies) -> tuple[Moment, ...]:
    """Mamba2Mixer above the residual stream and its normalized input."""
    projections = T * b * (2 * i + 2 * (g * s) + m) + T * b * MIXED + 4 * m
    if c.decode:
        return (
            Moment("state update", T * i * s * 12 + T * i * s * b * 2 + T * m * s * b + T * i * b + projections,
                   "discretized A, B and B·x, the old state times A and the new one, B per head, dt, projections"),
        )  # fmt: skip
    per_chunk = x * i * s * 4 + y * m * 4  # states before and after each chunk, decays between chunks
    matrices = p * Q * m * 12 + p * m * 16 + T * m * b + per_chunk + projections
    copied = NOTHING if copies == "none" else p * m * s * 4
    if copies == "C and states":
        copied = copied + (x - B) * i * s * 4
    return (
        Moment("chunk outputs", matrices + p * i * 28 + p * m * s * 12,
               "decays, B·C and their product within chunks; B and C of every head; inputs, skip and outputs in fp32"),
        Moment("chunk states", matrices + p * i * 16 + p * m * s * 12 + copied,
               "decays, B·C and their product within chunks; B, C of every head and a copy; inputs, outputs in fp32"),
    )  # fmt: skip


def scan_sizes(sizes: Sizes, *, missing: int) -> Sizes:
    """The letters of a scan: every sequence padded to whole chunks; ``missing`` bytes of cache are still to come.

    >>> scan_sizes(Sizes(B=2, S=70, Q=32), missing=5)[-7:-4]
    (192, 8, 32)
    """
    chunks = -(-sizes.S // sizes.Q) if sizes.Q else 0
    return sizes._replace(
        p=sizes.B * chunks * sizes.Q, x=sizes.B * (chunks + 1), y=sizes.B * (chunks + 1) ** 2, z=missing
    )  # fmt: skip


def _decoder(c: Setting, mixing: tuple[Moment, ...], residual: Expr) -> tuple[Moment, ...]:
    """One kind of block all through, and the head, whose logits the model itself casts to fp32."""
    ids = 8 * T + 8 * (P if c.decode else T)
    longer = 8 * P if c.decode else NOTHING  # the ids with the next one appended
    before = 4 * (B * V) if c.decode else NOTHING  # the last step's logits
    stream = T * b * (2 * h) + residual  # embeddings, the normalized input, the residual
    return (
        *(Moment(one.name, one.formula + stream + ids + before, one.alive) for one in mixing),
        Moment("logits", 8 * (B * V) + before + ids + longer,
               "the logits of one position per sequence in fp32 and their copy"),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _moments(kind: str, c: Setting, copies: Copies, wide: bool) -> Contest:
    mixing = (selective_scan if kind == "mamba" else chunk_scan)(c, copies)
    return contenders(_decoder(c, mixing, T * h * 4 if wide else T * b * h if c.deep else NOTHING))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of a decoder without attention."""
    stack = architecture.stacks[0]
    mixer = stack.mixer
    if mixer is None:
        raise ValueError("a state-space decoder has a mixer")
    courses = []
    for step in steps(architecture, workload):
        c = settle(architecture, workload, stack, step.name, keys=step.cached, queries=step.queries)
        sizes = stack_sizes(architecture, workload, stack, queries=step.queries, keys=step.cached)
        copies = copies_of(workload.batch, step.queries, mixer.chunk)
        contest = _moments(mixer.kind, c, copies, stack.fp32_residual and c.half)
        courses.append(
            Course(name=step.name, cache_tokens=step.cached, moments=((contest, scan_sizes(sizes, missing=0)),))
        )
    return tuple(courses)

"""Mixtures of experts: the dense decoder's moments with the experts in the place of the MLP (transformers 5.23.0).

integrations/moe.py, grouped_mm_experts_forward, the implementation chosen by default: every token is copied once per
expert it goes to, R = T·e rows. Widest are

* ``experts``: the rows sorted by expert (h), gate and up in one product (2·w), the activated gate (w) and the product
  (w);
* ``experts joined``: the sorted rows, the down projection, the weighted rows and those back in order (4·h), where
  weighting by fp32 router weights (DeepSeek, GLM) makes the last two 4 bytes wide.

Beside them the sort keeps 8-byte expert ids and permutations of R rows.
"""

from __future__ import annotations

from functools import lru_cache

from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, steps
from gpufit.memory.activations.decoder import GATED, Block, decoder_moments
from gpufit.memory.activations.latent import indexer_sizes, latent_attention
from gpufit.memory.activations.setting import Contest, Moment, Setting, contenders
from gpufit.memory.activations.sizes import settle, stack_sizes
from gpufit.memory.activations.symbols import NOTHING, E, Expr, T, b, e, h, u, w
from gpufit.memory.workload import Workload
from gpufit.records import record, replace

LLAMA = Block()


@record(eq=False)
class Routed:
    """A family's block and how it routes.

    ``fp32_weights``: the router's weights stay fp32. ``shared``: when the shared expert runs: not at all, before the
    routed ones, whose moments then hold its output, or after. ``logits`` is what the router leaves named, per token.
    """

    block: Block = LLAMA
    fp32_weights: bool = False
    shared: str = "none"
    router: Expr = E * b
    latent: bool = False
    indexed: bool = False  # DeepSeek sparse attention: an indexer scores every key first
    gate: Expr = h + 4 * w
    exact: bool = True


FORMS: dict[str, Routed] = {
    # by model_type where families of one form differ, else by form
    "moe": Routed(),
    "mixtral": Routed(fp32_weights=True),  # MixtralTopKRouter leaves its softmax in fp32
    "qwen3_moe": Routed(block=replace(LLAMA, query_norm="before values")),
    "shared_moe": Routed(shared="before"),
    "olmoe": Routed(block=replace(LLAMA, query_norm="before values")),
    "granitemoe": Routed(),
    "phimoe": Routed(block=replace(LLAMA, norm="layer")),
    "minimax_m2": Routed(block=replace(LLAMA, query_norm="before values", rotary="partial"), fp32_weights=True),
    "glm4_moe": Routed(block=replace(LLAMA, rotary="partial"), fp32_weights=True, shared="after"),
    "ernie4_5_moe": Routed(fp32_weights=True, shared="after"),
    # DeepseekV3Attention; only the first layers are dense
    "mla_moe": Routed(fp32_weights=True, shared="after", latent=True, router=E * 4),
    "dsa_moe": Routed(fp32_weights=True, shared="after", latent=True, indexed=True, router=E * 4),
    # GptOssExperts._apply_gate beside its rows of biases: gate and up, both clamped, glu, up + 1 and the product;
    # eager attention appends a sink to the scores and keeps them, their shifted copy and the softmax
    "gpt_oss": Routed(block=replace(LLAMA, norm="wide rms", scores="sum and same", eager_only=True), gate=h + 9 * w),
    "hunyuan_moe": Routed(shared="before", fp32_weights=True),  # its gate stays fp32
}


def expert_moments(routed: Routed, c: Setting) -> tuple[Moment, ...]:
    """What the mixture holds above the residual stream; the dense layers' MLP and the shared expert among it."""
    weight_bytes = 4 if routed.fp32_weights else b
    rows = T * e
    sorting = rows * 40 + T * routed.router
    beside = T * b * h if routed.shared == "before" else NOTHING
    moments = [
        Moment("experts", rows * b * routed.gate + sorting + beside,
               "rows sorted by expert, gate and up, activation and product"),
        Moment("experts joined", rows * (2 * b * h + 2 * (h * weight_bytes)) + sorting + beside,
               "sorted rows, down projection, weighted rows and those back in order"),
        Moment("mlp", T * b * GATED, "gate, up and product of a dense layer"),
    ]  # fmt: skip
    if routed.shared != "none":
        routed_output = T * b * h if routed.shared == "after" else NOTHING
        moments.append(Moment("shared expert", T * b * (3 * u) + routed_output + T * routed.router,
                              "gate, up and product of the shared expert, the routed experts' output"))  # fmt: skip
    return tuple(moments)


@lru_cache(maxsize=1024)
def _moments(routed: Routed, setting: Setting) -> Contest:
    attention = latent_attention(setting, indexed=routed.indexed) if routed.latent else None
    return contenders(decoder_moments(routed.block, setting, expert_moments(routed, setting), attention))


def plan(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    """Prefill and decode of a mixture of experts."""
    routed = FORMS.get(architecture.model_type) or FORMS[architecture.form]
    stack = architecture.stacks[0]
    eager = routed.block.eager_only
    indexer = indexer_sizes(architecture) if routed.indexed else {}
    return tuple(
        Course(
            name=step.name, cache_tokens=step.cached, exact=routed.exact,
            moments=((_moments(routed, settle(architecture, workload, stack, step.name, keys=step.keys,
                                              queries=step.queries, eager_only=eager)),
                      stack_sizes(architecture, workload, stack, queries=step.queries, keys=step.keys)._replace(
                          **indexer)),),
        )
        for step in steps(architecture, workload)
    )  # fmt: skip

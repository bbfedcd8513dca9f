"""The peak of temporaries above the residents, in closed form, derived from transformers 5.23.0's modelling code.

A phase (encode, prefill, decode) peaks at one of a handful of named moments. Every moment is a formula over the
letters of ``symbols.Sizes``, written beside the code that it was read from: ``decoder`` holds what decoder-only models
share, one file per family the differences. The oracle is ``gpufit.replay``; no factor is fitted.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Literal

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.memory.activations.courses import Course, Planner
from gpufit.memory.activations.setting import Contest, contenders
from gpufit.memory.workload import Workload
from gpufit.records import record

__all__ = ["Phase", "estimate_phases", "explain_phase", "supports"]


@record
class Phase:
    """One phase of inference and its widest moment.

    ``cache_tokens`` of self-attention cache lie there per sequence; ``activation_bytes`` stand above weights, buffers
    and that cache: temporaries, the copy of a growing cache, an encoder's output kept alive. ``exact`` is False where
    the formula is a derived upper bound.
    """

    name: Literal["encode", "prefill", "decode"]
    cache_tokens: int
    activation_bytes: int
    moment: str
    exact: bool = True


_MODULES = {  # module of this package that offers plan(architecture, workload): the forms it covers
    "dense": "llama gemma qwen3 gemma2 gemma3 olmo olmo2 cohere glm glm4 phi3 nemotron arcee starcoder2 "
             "stablelm phi exaone4 apertus persimmon",
    "gpt": "gpt2 gpt_bigcode opt gpt_neox falcon falcon_alibi falcon_two_norms gptj codegen bloom gpt_neo",
    "encoder": "bert modernbert albert deberta nomic_bert",
    "seq2seq": "bart t5 whisper",
    "ssm": "mamba falcon_mamba mamba2",
    "hybrid": "jamba bamba granitemoehybrid nemotron_h qwen3_next qwen3_5 lfm2",
    "towers": "clip vit",
    "llama4": "llama4",
    "mimo": "mimo_v2_flash",
    "led": "led",
    "deepseek_v4": "deepseek_v4",
    "gemma4": "gemma4",
    "mpt": "mpt",
    "moe": "moe shared_moe olmoe granitemoe phimoe minimax_m2 glm4_moe ernie4_5_moe hunyuan_moe mla_moe "
           "dsa_moe gpt_oss",
}  # fmt: skip
FORMS: dict[str, str] = {form: module for module, forms in _MODULES.items() for form in forms.split()}


def supports(form: str) -> bool:
    """Whether there is a closed form for this family.

    >>> supports("llama"), supports("perpetual-motion")
    (True, False)
    """
    return form in FORMS


@cache
def _planner(form: str) -> Planner:
    module = FORMS.get(form)
    if module is None:
        raise Undecided(
            f"gpufit has no activation formula for {form[:60]!r}",
            hint="gpufit replay runs the real modelling code instead",
        )
    plan: Planner = import_module(f"{__name__}.{module}").plan
    return plan


def _courses(architecture: Architecture, workload: Workload) -> tuple[Course, ...]:
    courses = _planner(architecture.form)(architecture, workload)
    if not workload.images:
        return courses
    from gpufit.memory.activations.pictures import with_pictures

    return with_pictures(architecture, workload, courses)


def estimate_phases(architecture: Architecture, workload: Workload) -> tuple[Phase, ...]:
    """Every phase of the workload, in order of time.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> prefill, = estimate_phases(llama, Workload(prompt_tokens=2048))
    >>> prefill.moment, prefill.activation_bytes - (202_375_168 + 1_048_576)
    ('mlp', 32768)

    Raises Undecided where the family has no formula.
    """
    phases = []
    for course in _courses(architecture, workload):
        peak, name = -1, ""
        for moments, sizes in course.moments:
            contest = moments if isinstance(moments, Contest) else contenders(moments)
            size, moment = contest.widest(sizes)
            if size > peak:
                peak, name = size, moment.name
        phases.append(
            Phase(
                name=course.name,
                cache_tokens=course.cache_tokens,
                activation_bytes=peak + course.beside_bytes,
                moment=name,
                exact=course.exact,
            )
        )
    return tuple(phases)


def explain_phase(architecture: Architecture, workload: Workload, phase: Phase) -> str:
    """The winning moment's formula, its numbers, and which tensors live then.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> work = Workload(prompt_tokens=2048)
    >>> print(explain_phase(llama, work, estimate_phases(llama, work)[0]).splitlines()[0])
    prefill, mlp: T·b·4·h + T·b·3·f + 8·T + 2·S·D·b + 8·S
    """
    for course in _courses(architecture, workload):
        if course.name != phase.name:
            continue
        for moments, sizes in course.moments:
            for moment in moments:
                above = phase.activation_bytes - course.beside_bytes
                if moment.name == phase.moment and moment.formula.value(sizes) == above:
                    numbers = ", ".join(f"{letter} = {getattr(sizes, letter):,}" for letter in moment.formula.letters())
                    pictures = f" + {course.beside_bytes:,} of pictures" if course.beside_bytes else ""
                    bound = "" if phase.exact else " (an upper bound)"
                    return (
                        f"{phase.name}, {moment.name}: {moment.formula}{pictures}\n"
                        f"  = {phase.activation_bytes:,} bytes{bound} with {numbers}\n"
                        f"  alive: {moment.alive}"
                    )
    raise ValueError("the phase does not belong to this architecture and workload")

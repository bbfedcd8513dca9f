"""What one micro-step holds above the residents: the door to the programs of this package.

A family's training form is a program over ``tape``'s operators that mirrors transformers' modelling code
(``blocks``); playing it forward and back gives every byte that autograd would hold, instant by instant. The oracle is
``gpufit.replay``, which runs the real code; no factor is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import import_module

from gpufit.errors import Undecided
from gpufit.facts.architecture import Architecture
from gpufit.memory.training.groups import Saved, group_saved
from gpufit.memory.training.modules import Model
from gpufit.memory.training.plan import TrainingPlan
from gpufit.memory.training.step import Moment
from gpufit.memory.training.tape.graph import Tape
from gpufit.memory.training.tape.ledger import Scope
from gpufit.memory.training.tape.tensor import Tensor, held_alone
from gpufit.records import record

Program = Callable[[Model], Tensor]
_MODULES = {  # module of blocks/ -> form: the program's name there
    "decoder": dict.fromkeys(
        ("llama", "gemma", "qwen3", "gemma2", "gemma3", "starcoder2", "arcee", "phi3", "olmo", "olmo2", "moe",
         "shared_moe", "olmoe", "granitemoe", "nemotron", "cohere", "glm", "glm4"), "decoder",
    ),
    "gpt": {"gpt2": "gpt2", "opt": "opt", "bloom": "bloom"},
    "parallel": {"gpt_neox": "gpt_neox", "phi": "phi", "stablelm": "stablelm"},
    "gptj": {"gptj": "gptj", "codegen": "gptj"},
    "gpt_kin": {"gpt_bigcode": "gpt_bigcode", "gpt_neo": "gpt_neo"},
    "bert": {"bert": "bert"},
    "falcon": dict.fromkeys(("falcon", "falcon_alibi", "falcon_two_norms"), "falcon"),
    "deberta": {"deberta": "deberta"},
    "bart": {"bart": "bart"},
    "t5": {"t5": "t5"},
}  # fmt: skip
FORMS: dict[str, tuple[str, str]] = {
    form: (module, program) for module, forms in _MODULES.items() for form, program in forms.items()
}
_OWN_MODULES = {"distilbert": ("distilbert", "distilbert")}  # model types whose code is not their form's


@record
class MicroStep:
    """One micro-batch forward and back, in bytes above weights, adapters, gradients and optimizer states.

    ``saved_bytes`` lie there between forward and backward; ``saved`` says where, largest first. ``layer_bytes`` is a
    middle layer's part of it (its input alone under checkpointing, ``checkpoint_bytes`` then for all layers), and
    ``recompute_bytes`` the most that one layer brings back. ``forward_peak_bytes`` is reached in ``forward_moment``;
    ``backward_peak_bytes`` leaves gradients of weights out. ``loss_peak_bytes`` is the widest instant of the loss, both
    ways; ``logits_bytes`` the logits themselves, and ``caches_bytes`` what the model's output holds beside them, alone,
    until the loss is there. ``moments`` are the widest instants of backward with the share of the
    weights' gradients that exists by then, ``gradients_bytes`` being all of them.
    """

    saved_bytes: int
    saved: tuple[Saved, ...]
    checkpoint_bytes: int
    recompute_bytes: int
    forward_peak_bytes: int
    forward_moment: str
    logits_bytes: int
    caches_bytes: int
    loss_peak_bytes: int
    backward_peak_bytes: int
    gradients_bytes: int
    moments: tuple[Moment, ...]

    @property
    def peak_bytes(self) -> int:
        """The highest sum of temporaries and gradients, where gradients begin at nothing."""
        backward = (m.temporaries_bytes + round(m.gradient_share * self.gradients_bytes) for m in self.moments)
        return max(self.forward_peak_bytes, *backward)


def supports_training(architecture: Architecture) -> bool:
    """Whether there is a training form for this family."""
    return architecture.form in FORMS


@cache
def _program(form: str, model_type: str) -> Program:
    if form not in FORMS:
        raise Undecided(
            f"gpufit has no training form for {form[:60]!r}", hint="gpufit replay --train runs the real code instead"
        )
    module, name = _OWN_MODULES.get(model_type, FORMS[form])
    program: Program = getattr(import_module(f"gpufit.memory.training.blocks.{module}"), name)
    return program


@lru_cache(maxsize=1024)
def micro_step(
    architecture: Architecture, plan: TrainingPlan, *, accumulating: bool = False, sums_in_place: bool = True
) -> MicroStep:
    """One micro-batch of training on one card.

    With ``accumulating`` gradients exist from the micro-batch before and new ones are temporaries added into them.
    ``sums_in_place`` is False to compare with a replay: under a dispatch mode autograd writes sums of gradients anew.

    >>> from gpufit.facts.read import parse_config
    >>> llama = parse_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    ...                       "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000})
    >>> step = micro_step(llama, TrainingPlan(micro_batch=1, seq=2048, checkpointing="full"))
    >>> step.checkpoint_bytes == 32 * 2048 * 4096 * 2, step.gradients_bytes == 2 * llama.parameters
    (True, True)

    Raises Undecided where the family has no training form.
    """
    program = _program(architecture.form, architecture.model_type)
    tape = Tape(sums_in_place=sums_in_place, accumulates=accumulating)
    tape.autocast = plan.compute_dtype if plan.autocast else None
    model = Model(architecture, plan, tape)
    ledger = tape.ledger
    loss = program(model)
    tape.leave_autocast()
    caches_bytes = held_alone(ledger, model.caches)
    model.caches.clear()
    saved_bytes, saved = ledger.temporaries_bytes, group_saved(ledger, model)
    ahead = ledger.scopes
    ledger.scopes = []
    ledger.enter("loss, backward")
    tape.backward(loss)
    del loss
    widest = max(ahead, key=lambda scope: scope.most.temporaries_bytes)
    gradients = ledger.gradients_bytes
    return MicroStep(
        saved_bytes=saved_bytes, saved=saved, checkpoint_bytes=model.checkpoint_bytes,
        recompute_bytes=tape.recomputed_bytes,
        forward_peak_bytes=widest.most.temporaries_bytes, forward_moment=widest.name, logits_bytes=model.logits_bytes,
        caches_bytes=caches_bytes,
        loss_peak_bytes=_widest((*ahead, *ledger.scopes), "loss"),
        backward_peak_bytes=max(scope.most.temporaries_bytes for scope in ledger.scopes),
        gradients_bytes=gradients, moments=_moments(ledger.scopes, gradients),
    )  # fmt: skip


def _widest(scopes: tuple[Scope, ...], name: str) -> int:
    return max((s.most.temporaries_bytes for s in scopes if s.name.startswith(name)), default=0)


def _moments(scopes: list[Scope], gradients_bytes: int) -> tuple[Moment, ...]:
    """Each scope's instant of most temporaries, and that of most bytes in all where it is another."""
    found = []
    for scope in scopes:
        for instant in dict.fromkeys((scope.most, scope.sum)):
            share = instant.gradients_bytes / gradients_bytes if gradients_bytes else 0.0
            name = scope.name.removesuffix(", backward")
            found.append(Moment(name=name, temporaries_bytes=instant.temporaries_bytes, gradient_share=share))
    return tuple(found)

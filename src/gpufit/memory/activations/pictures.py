"""Pictures before a language model: encoding them, and what of them lives on through prefill and decode.

A vision-language model encodes its pictures inside the first forward pass, before the decoder's layers: the text's
embeddings lie there, the cache is still empty. Through the prefill live on the pixels (``generate`` keeps them to its
end), the tower's states and the features that replaced embeddings. Derived from transformers 5.23.0,
models/{llava, internvl, gemma3, paligemma}/modeling_*.py, forward and get_image_features.
"""

from __future__ import annotations

from typing import NamedTuple

from gpufit.facts.architecture import Architecture
from gpufit.facts.dtypes import DTYPE_BYTES
from gpufit.memory.activations.courses import Course
from gpufit.memory.activations.towers import picture_numbers, tower_contest
from gpufit.memory.workload import Workload
from gpufit.records import replace


class _Kept(NamedTuple):
    """What a family's forward still names, per picture, prompt token or position."""

    states: int  # of all the tower's positions: its last state, and the layer that the projector reads
    features: int  # of the projected features: in pieces, and joined
    marks: int  # bytes a prompt token: which of them are pictures (Gemma: token types, groups and a mask)
    ids: int  # bytes a prompt token while the tower runs: the ids, and Gemma's token types
    positions: int = 0  # bytes a position while the tower runs: PaliGemma numbers them first


_KEPT = {
    "llava": _Kept(states=2, features=2, marks=1, ids=8),
    "internvl": _Kept(states=1, features=1, marks=1, ids=8),
    "gemma3": _Kept(states=1, features=1, marks=17, ids=16),
    "paligemma": _Kept(states=1, features=1, marks=17, ids=16, positions=8),
}


def picture_tokens(architecture: Architecture) -> int:
    """Tokens that one picture takes of the prompt; 0 where gpufit does not know how this family sees.

    >>> from gpufit.facts.read import parse_config
    >>> picture_tokens(parse_config({"model_type": "llava", "vision_config": {}, "text_config": {}}))
    49
    """
    stack = architecture.stack("vision")
    return stack.picture_tokens if stack is not None and architecture.model_type in _KEPT else 0


def with_pictures(architecture: Architecture, workload: Workload, courses: tuple[Course, ...]) -> tuple[Course, ...]:
    """The courses of the text with ``workload.images`` pictures a sequence: encoded first, then kept."""
    stack = architecture.stack("vision")
    if stack is None or not picture_tokens(architecture):
        return courses
    kept, width, pictures = (
        _KEPT[architecture.model_type],
        DTYPE_BYTES[workload.dtype],
        workload.batch * workload.images,
    )
    prompt = workload.batch * workload.prompt_tokens
    pixels = pictures * picture_numbers(architecture, stack)
    embeddings = prompt * architecture.stacks[0].hidden
    seen = replace(workload, batch=pictures)
    ids = kept.ids * prompt + kept.positions * workload.prompt_tokens
    contest = tower_contest(architecture, seen, stack, stack.positions, pixels + embeddings, ids)
    encode = Course(name="encode", cache_tokens=0, moments=(contest,))
    states = kept.states * pictures * stack.positions * stack.hidden
    features = kept.features * pictures * stack.picture_tokens * architecture.stacks[0].hidden
    beside = {"prefill": (pixels + states + features) * width + kept.marks * prompt, "decode": pixels * width}
    return (encode, *(replace(course, beside_bytes=beside.get(course.name, 0)) for course in courses))

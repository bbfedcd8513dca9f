"""An encoder that was saved bare gets the head that it is trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufit.errors import UnknownFamily
from gpufit.facts.architecture import Architecture
from gpufit.facts.read import parse_config
from gpufit.records import replace

_BARE = ("Model", "ForPreTraining")  # the second brings heads that nobody tunes


def with_task_head(bare: Architecture, raw: Mapping[str, Any] | None) -> Architecture:
    """A bare encoder as ``AutoModelForSequenceClassification`` loads it; everything else as it is.

    ``raw`` is the configuration it was read from, None where there is none. The head's size is the configuration's
    own number of labels, two where it names none.

    >>> raw = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 64, "intermediate_size": 256,
    ...        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 999}
    >>> bare = parse_config(raw)
    >>> trained = with_task_head(bare, raw)
    >>> trained.model_class, trained.parameters - bare.parameters
    ('BertForSequenceClassification', 130)
    """
    if raw is None or [s.role for s in bare.stacks] != ["encoder"] or not bare.model_class.endswith(_BARE):
        return bare
    name = bare.model_class.removesuffix("Model").removesuffix("ForPreTraining") + "ForSequenceClassification"
    try:
        found = parse_config({**raw, "architectures": [name]})
    except UnknownFamily:
        return bare
    note = f"trained as {name}: the checkpoint brings no task head, and a classifier is put on it"
    return replace(found, dtype=bare.dtype, notes=(*bare.notes, note))

"""The truth the readers are held against: transformers' own model on the meta device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DROP = {"model_type", "architectures", "transformers_version", "auto_map", "quantization_config"}


@dataclass(frozen=True)
class MetaModel:
    """Names and shapes of every parameter (tied names included), what shares storage, and the module kinds."""

    shapes: dict[str, tuple[int, ...]]
    tied: dict[str, str]  # later name -> first name of the same storage
    buffers: dict[str, tuple[tuple[int, ...], str, bool]]  # name -> shape, torch dtype, saved
    linears: set[str]  # module names that are exactly nn.Linear or transformers' Conv1D
    output: str | None
    model: Any


def build(raw: Mapping[str, Any], model_class: str | None = None) -> MetaModel:
    """Build ``architectures[0]`` (or ``model_class``) of a raw configuration without weights."""
    import torch
    import transformers
    from transformers.pytorch_utils import Conv1D

    config = transformers.AutoConfig.for_model(
        raw["model_type"], **{key: value for key, value in raw.items() if key not in _DROP}
    )
    with torch.device("meta"):
        model = getattr(transformers, model_class or raw["architectures"][0])(config)
    model.tie_weights()
    shapes: dict[str, tuple[int, ...]] = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        shapes[name] = tuple(parameter.shape)
        owner = first.setdefault(id(parameter), name)
        if owner != name:
            tied[name] = owner
    saved = set(model.state_dict(keep_vars=True))
    head = model.get_output_embeddings()
    return MetaModel(
        shapes=shapes,
        tied=tied,
        buffers={n: (tuple(b.shape), str(b.dtype), n in saved) for n, b in model.named_buffers()},
        linears={n for n, m in model.named_modules() if type(m) is torch.nn.Linear or isinstance(m, Conv1D)},
        output=next((f"{n}.weight" for n, m in model.named_modules() if m is head and head is not None), None),
        model=model,
    )

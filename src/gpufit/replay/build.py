"""A transformers model on the meta device from a raw configuration: no weights, no memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpufit.errors import BadConfig, Undecided, UnknownFamily, Unsupported
from gpufit.facts.dtypes import TORCH_NAME
from gpufit.facts.read import parse_config
from gpufit.memory.workload import AttentionKernel

if TYPE_CHECKING:
    import torch

_NOT_FOR_THE_CONFIG = ("model_type", "architectures", "transformers_version", "auto_map", "quantization_config",
                       "torch_dtype", "dtype", "_name_or_path", "_attn_implementation")  # fmt: skip


def build_model(raw: Mapping[str, Any], *, dtype: str = "fp16", attention: AttentionKernel = "sdpa") -> torch.nn.Module:
    """The installed transformers' own class for a config.json, in evaluation mode, on the meta device.

    Tensors that the loader keeps in fp32 are fp32 (modeling_utils.py, _get_dtype_plan). Raises UnknownFamily where
    transformers has no such model_type and Unsupported where the class cannot be built or has no such attention.
    """
    import transformers
    from huggingface_hub.errors import StrictDataclassError

    model_type = str(raw.get("model_type"))
    settings = {key: value for key, value in raw.items() if key not in _NOT_FOR_THE_CONFIG}
    try:
        config = transformers.AutoConfig.for_model(model_type, **settings)
    except ValueError as problem:
        named = _named_class(raw)  # a checkpoint may carry its own model_type over a class that transformers has
        if named is None:
            raise UnknownFamily(
                model_type,
                message=f"transformers {transformers.__version__} has no model_type {model_type[:60]!r}",
                hint="its code lies beside the checkpoint and is not run; gpufit check knows the family's arithmetic",
            ) from problem
        config = named.config_class(**settings)
    except StrictDataclassError as problem:
        raise BadConfig(
            f"transformers refuses this {model_type[:60]} configuration: {_last_line(problem)}"
        ) from problem
    model_class = model_class_for(raw, config)
    model = _construct(model_class, config, dtype, attention)
    _keep_fp32(model)
    model.tie_weights()
    return model.eval()  # type: ignore[no-any-return]


def _construct(model_class: Any, config: Any, dtype: str, attention: AttentionKernel) -> Any:
    """The class on the meta device; where it has no sdpa it falls back to eager, as transformers' own default does."""
    import torch

    name = "eager" if attention == "eager" else "sdpa"
    try:
        with torch.device("meta"):
            model = model_class._from_config(config, dtype=getattr(torch, TORCH_NAME[dtype]), attn_implementation=name)
        return model.to("meta")  # torch.Tensor(n), as wav2vec 2.0 makes a parameter, heeds no default device
    except (ValueError, TypeError, AttributeError, ImportError) as problem:
        if name == "sdpa" and "does not support an attention implementation" in str(problem):
            return _construct(model_class, config, dtype, "eager")
        raise Unsupported(f"transformers cannot build {model_class.__name__}: {str(problem)[:160]}") from problem


def _last_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[-1].strip()[:240]


def model_class_for(raw: Mapping[str, Any], config: Any) -> Any:
    """The class that the checkpoint was saved from, else the one that transformers' auto-mapping names for the type."""
    import transformers

    if (named := _named_class(raw)) is not None:
        return named
    for auto in ("MODEL_FOR_CAUSAL_LM_MAPPING", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING", "MODEL_MAPPING"):
        mapping = getattr(transformers, auto, {})
        if type(config) in mapping:
            return mapping[type(config)]
    raise Undecided(f"transformers {transformers.__version__} has no model for model_type {raw.get('model_type')!r}")


def _named_class(raw: Mapping[str, Any]) -> Any:
    """``architectures[0]``, or the class that the family's reader takes where the configuration names none."""
    import transformers

    names = [str(name) for name in raw.get("architectures") or ()]
    with suppress(Undecided, BadConfig):
        names.append(parse_config(raw).model_class)
    return next((found for name in names if (found := getattr(transformers, name, None)) is not None), None)


def _keep_fp32(model: Any) -> None:
    """Give the tensors named in the dtype plan their fp32, as from_pretrained does."""
    import torch

    plan = model._get_dtype_plan(model.dtype)
    for name, parameter in model.named_parameters():
        if any(f".{pattern}." in f".{name}." for pattern in plan):
            parameter.data = parameter.data.to(torch.float32)

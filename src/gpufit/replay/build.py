"""A transformers model on the meta device from a raw configuration: no weights, no memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpufit.errors import UnknownFamily, Unsupported
from gpufit.facts.dtypes import TORCH_NAME
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
    import torch
    import transformers

    model_type = str(raw.get("model_type"))
    try:
        config = transformers.AutoConfig.for_model(
            model_type, **{key: value for key, value in raw.items() if key not in _NOT_FOR_THE_CONFIG}
        )
    except ValueError as problem:
        raise UnknownFamily(model_type, hint=f"transformers {transformers.__version__} has no such model") from problem
    model_class = model_class_for(raw, config)
    try:
        with torch.device("meta"):
            model = model_class._from_config(
                config,
                dtype=getattr(torch, TORCH_NAME[dtype]),
                attn_implementation=attention_name(attention),
            )
    except (ValueError, ImportError) as problem:
        raise Unsupported(f"transformers cannot build {model_class.__name__}: {str(problem)[:160]}") from problem
    _keep_fp32(model)
    model.tie_weights()
    return model.eval()  # type: ignore[no-any-return]


def attention_name(attention: AttentionKernel) -> str:
    """transformers' name of the implementation."""
    return "eager" if attention == "eager" else "sdpa"


def model_class_for(raw: Mapping[str, Any], config: Any) -> Any:
    """``architectures[0]`` if transformers has it, else the class its auto-mapping names for the type."""
    import transformers

    for name in raw.get("architectures") or ():
        found = getattr(transformers, str(name), None)
        if found is not None:
            return found
    for auto in ("MODEL_FOR_CAUSAL_LM_MAPPING", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING", "MODEL_MAPPING"):
        mapping = getattr(transformers, auto, {})
        if type(config) in mapping:
            return mapping[type(config)]
    raise UnknownFamily(str(raw.get("model_type")))


def _keep_fp32(model: Any) -> None:
    """Give the tensors named in the dtype plan their fp32, as from_pretrained does."""
    import torch

    plan = model._get_dtype_plan(model.dtype)
    for name, parameter in model.named_parameters():
        if any(f".{pattern}." in f".{name}." for pattern in plan):
            parameter.data = parameter.data.to(torch.float32)

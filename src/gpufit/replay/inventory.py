"""What a model of the installed transformers holds, told in plain values: tensors, cache, and what its class is for.

``python -m gpufit.replay.inventory`` is the child process of ``gpufit.replay.via_transformers``: a configuration on
standard input, the answer on standard output, both JSON. A tensor is told with its name, where a ``{}`` stands for each
place in a list of blocks (``nn.ModuleList``) and ``index`` says which. Everything is on the meta device.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from gpufit.errors import GpufitError
from gpufit.replay.build import build_model
from gpufit.replay.libraries import imported_libraries
from gpufit.replay.observed_cache import observe_cache

_NORMS = ("Norm", "norm")


def tell_model(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Build the model of a config.json and tell it, as ``gpufit.facts.built.parse_built`` reads it.

    Raises UnknownFamily where transformers has no such model and Unsupported where its class cannot be built.
    """
    model: Any = build_model(raw, dtype="bf16")  # so that what stays fp32 is seen; kernels of experts take no fp16
    text = model.config.get_text_config()
    encoder_decoder = bool(getattr(model.config, "is_encoder_decoder", False))
    generates = bool(model.can_generate())
    notes: list[str] = []
    cache = observe_cache(model, notes) if generates else []
    decoder = text.get_text_config(decoder=True) if encoder_decoder else text
    quantization = raw.get("quantization_config")
    method = quantization.get("quant_method", "bitsandbytes") if isinstance(quantization, Mapping) else None
    encoder_layers = _size(model.config, "encoder_layers") or _size(text, "num_layers")
    return {
        "model_type": str(raw.get("model_type")),
        "model_class": type(model).__name__,
        "task": _task(type(model).__name__, encoder_decoder, generates),
        "layers": _size(decoder, "num_hidden_layers") or 1,
        "encoder_layers": encoder_layers if encoder_decoder else 0,
        "hidden": _size(text, "hidden_size") or _size(model.config, "hidden_size"),
        "vocab_size": _size(text, "vocab_size"),
        "max_context_tokens": _size(text, "max_position_embeddings") or None,
        "dtype": next((str(raw[key]) for key in ("dtype", "torch_dtype") if isinstance(raw.get(key), str)), None),
        "quantization": method,
        "tensors": list(_tensors(model)),
        "output": _output_name(model),
        "keep_fp32": sorted(getattr(model, "_keep_in_fp32_modules", None) or ()),
        "keep_fp32_strict": sorted(getattr(model, "_keep_in_fp32_modules_strict", None) or ()),
        "cache": cache,
        "notes": notes,
    }


def _size(config: Any, name: str) -> int:
    value = getattr(config, name, None)
    return value if type(value) is int and value > 0 else 0


def _task(model_class: str, encoder_decoder: bool, generates: bool) -> str:
    """What the class is for, as transformers' own auto-classes sort it."""
    from transformers.models.auto import modeling_auto as auto

    def among(*mappings: str) -> bool:
        return any(model_class in str(name) for m in mappings for name in getattr(auto, m, {}).values())

    if among("MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES"):
        return "speech"
    if not generates:
        return "encoder"
    if encoder_decoder:
        return "seq2seq"
    return "vision-language" if among("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES") else "causal-lm"


def _output_name(model: Any) -> str | None:
    head = model.get_output_embeddings()
    if head is None:
        return None
    return next((f"{name}.weight" for name, module in model.named_modules() if module is head), None)


def _tensors(model: Any) -> Iterator[dict[str, Any]]:
    """Every parameter, tied ones with the first that owns their storage, then every buffer."""
    import torch

    lists = {name for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    modules = dict(model.named_modules())
    first: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = first.setdefault(id(parameter), name)
        kind = _module_kind(modules[name.rpartition(".")[0]], name, parameter)
        yield _told(name, lists, parameter, kind, tied_to=owner if owner != name else None)
    saved = set(model.state_dict(keep_vars=True))
    for name, buffer in model.named_buffers():
        dtype = _own_dtype(buffer.dtype)
        yield _told(name, lists, buffer, "buffer", dtype=dtype, saved=name in saved)


def _told(
    name: str, lists: set[str], tensor: Any, kind: str, *, tied_to: str | None = None, dtype: str | None = None,
    saved: bool = True,
) -> dict[str, Any]:  # fmt: skip
    pattern, index = _split(name, lists) if tied_to is None else (name.replace("{", "{{").replace("}", "}}"), [])
    return {
        "name": pattern, "index": index, "shape": list(tensor.shape), "module": kind, "dtype": dtype,
        "tied_to": tied_to, "saved": saved,
    }  # fmt: skip


def _split(name: str, lists: set[str]) -> tuple[str, list[int]]:
    """The name with ``{}`` for each place in a ModuleList, and the places.

    >>> _split("model.layers.3.mlp.0.weight", {"model.layers"})
    ('model.layers.{}.mlp.0.weight', [3])
    """
    parts, index = [], []
    whole = name.split(".")
    for depth, part in enumerate(whole):
        if part.isdigit() and ".".join(whole[:depth]) in lists:
            parts.append("{}")
            index.append(int(part))
        else:
            parts.append(part.replace("{", "{{").replace("}", "}}"))
    return ".".join(parts), index


def _module_kind(module: Any, name: str, parameter: Any) -> str:
    """What owns a parameter, in the words of ``gpufit.facts.tensors.Module``."""
    import torch
    from transformers.pytorch_utils import Conv1D

    kinds: tuple[tuple[Any, str], ...] = (
        (Conv1D, "conv1d"), (torch.nn.Embedding, "embedding"), (torch.nn.modules.conv._ConvNd, "conv"),
    )  # fmt: skip
    if type(module) is torch.nn.Linear:
        return "linear"
    if isinstance(module, torch.nn.Linear):
        return "linear_kin"
    if parameter.ndim == 3 and "expert" in name:
        return "experts"
    if type(module).__name__.endswith(_NORMS):
        return "norm"
    return next((kind for kind_class, kind in kinds if isinstance(module, kind_class)), "parameter")


def _own_dtype(dtype: Any) -> str | None:
    """A buffer's format where it is its own, whatever the model is loaded in; the model was built in bf16."""
    name = str(dtype).removeprefix("torch.")
    return {"bfloat16": None, "float32": "fp32", "float16": "fp16"}.get(name, name)


def main() -> int:
    """The child process: one configuration in, one answer out; what else writes to standard output goes to stderr."""
    answer = sys.stdout
    sys.stdout = sys.stderr
    _forbid_network()
    try:
        raw = json.load(sys.stdin)
        with imported_libraries():
            told: dict[str, Any] = {"told": tell_model(raw)}
    except GpufitError as error:
        told = {"code": error.code, "message": error.message, "hint": error.hint}
    except MemoryError:
        told = {"code": "memory", "message": "", "hint": ""}
    except Exception as problem:  # noqa: BLE001  any class may fail on any configuration; the parent says so
        told = {"code": "failed", "message": " ".join(f"{type(problem).__name__}: {problem}".split())[:240], "hint": ""}
    json.dump(told, answer)
    return 0


def _forbid_network() -> None:
    """Nothing that runs here has a reason to call anybody: a connection is refused before it is tried."""

    def refuse(event: str, arguments: object) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            raise PermissionError("gpufit builds models without a network")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    sys.exit(main())

"""LoRA targets in a row's words, as the module names of the family at hand."""

from __future__ import annotations

from gpufit.accuracy.prediction import Refusal
from gpufit.facts.architecture import Architecture
from gpufit.memory.training.plan import ALL_LINEAR

# a short word -> the module names that families give it, fused ones last
_WORDS: dict[str, tuple[str, ...]] = {
    "q": ("q_proj", "query", "q", "query_proj", "query_key_value", "c_attn", "qkv_proj", "W_pack", "Wqkv"),
    "k": ("k_proj", "key", "k", "key_proj", "query_key_value", "c_attn", "qkv_proj", "W_pack", "Wqkv"),
    "v": ("v_proj", "value", "v", "value_proj", "query_key_value", "c_attn", "qkv_proj", "W_pack", "Wqkv"),
    "o": ("o_proj", "out_proj", "o", "dense", "c_proj"),
}
_SAME = {"query": "q", "key": "k", "value": "v", "projection": "o", "output": "head", "proj": "o"}
_MLP = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "c_fc", "wi", "wo", "wi_0", "wi_1",
        "dense_h_to_4h", "dense_4h_to_h")  # fmt: skip


def read_targets(text: str, architecture: Architecture) -> tuple[str, ...] | Refusal | None:
    """Module names, ``("all-linear",)``, or None where the row says nothing.

    >>> from gpufit.facts.read import parse_config
    >>> gpt2 = parse_config({"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257,
    ...                      "n_positions": 1024})
    >>> read_targets("q,v", gpt2), read_targets("ALL linear", gpt2), read_targets("", gpt2)
    (('c_attn',), ('all-linear',), None)
    """
    plain = text.strip().lower()
    if not plain or plain == "none":
        return None
    if plain.replace("_", "-").replace(" ", "-") in ("all-linear", "all"):
        return (ALL_LINEAR,)
    if plain.startswith("all"):
        text = text[text.find("(") + 1 :].rstrip(") ") if "(" in text else text
    known = _module_ends(architecture)
    found: list[str] = []
    for word in (part.strip() for part in text.replace(";", ",").split(",")):
        if word in known:
            found.append(word)
            continue
        short = _SAME.get(word.lower(), word.lower())
        if short == "mlp":
            found += [name for name in _MLP if name in known]
        elif short in ("head", "lm_head"):
            output = architecture.tensors.output
            found += [output.rpartition(".")[0]] if output else []
        else:
            found += next(([name] for name in _WORDS.get(short, ()) if name in known), [])
    if not found:
        return Refusal(reason=f"no module of {architecture.model_type} is named {text[:40]!r}")
    return tuple(dict.fromkeys(found))


def _module_ends(architecture: Architecture) -> frozenset[str]:
    """The last part of every linear module's path."""
    kinds = ("linear", "linear_kin", "conv1d")
    return frozenset(g.module_name.rpartition(".")[2] for g in architecture.tensors.groups if g.module in kinds)

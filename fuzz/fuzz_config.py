"""config.json -> Architecture, for every family that has a reader.

Inputs are configurations with keys dropped, exchanged or set to values of wrong type, sign and size. Seeds are the
published configurations of ../shared/configs where they lie beside the repository, cut to three layers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import atheris
from harness import fuzz

with atheris.instrument_imports(include=["gpufit"]):
    from gpufit.facts.families import READERS
    from gpufit.facts.json_text import parse_json
    from gpufit.facts.read import parse_config

COMMON = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 100,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 64, 4096, 4097, 1 << 31, 1 << 40, 1 << 63, 1 << 70, 0.0, 0.5, -2.5, 1e300,
    float("inf"), float("nan"), "", "x", "full_attention", "sliding_attention", [], [1], [0, 1, 2], [[1]], [None],
    ["a"], {}, {"a": 1}, [1] * 40, [-1], [1 << 50], {"hidden_size": -1},
]  # fmt: skip


def seeds() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"model_type": name, **COMMON} for name in sorted(READERS)]
    folder = Path(__file__).parents[2] / "shared" / "configs"
    for path in sorted(folder.glob("*.json")):
        config = json.loads(path.read_text())
        found.append(config)
    return found


SEEDS = seeds()
KEYS = sorted({key for seed in SEEDS for key in seed if key != "model_type"})


def mutated(data: bytes) -> dict[str, Any]:
    """A seed with up to six changes; nested sections are changed too."""
    choose = atheris.FuzzedDataProvider(data)
    config = dict(SEEDS[choose.ConsumeIntInRange(0, len(SEEDS) - 1)])
    for _ in range(choose.ConsumeIntInRange(0, 6)):
        target = config
        sections = [key for key, value in config.items() if isinstance(value, dict) and value]
        if sections and choose.ConsumeBool():
            section = sections[choose.ConsumeIntInRange(0, len(sections) - 1)]
            target = config[section] = dict(config[section])
        own = sorted(target)
        from_all = choose.ConsumeIntInRange(0, 3) == 0
        keys = KEYS if from_all or not own else own
        key = keys[choose.ConsumeIntInRange(0, len(keys) - 1)]
        action = choose.ConsumeIntInRange(0, 4)
        if action == 0:
            target.pop(key, None)
        elif action == 1:
            target[key] = choose.ConsumeIntInRange(-2, 200)
        elif action == 2 and len(own) > 1:
            target[key] = target[own[choose.ConsumeIntInRange(0, len(own) - 1)]]
        else:
            target[key] = ODD[choose.ConsumeIntInRange(0, len(ODD) - 1)]
    return config


def parse(data: bytes) -> None:
    raw = parse_json(data[1:], "config.json", python_floats=True) if data[:1] < b"\x20" else mutated(data[1:])
    architecture = parse_config(raw)
    assert architecture.parameters >= 0
    assert all(group.elements >= 0 for group in architecture.tensors.groups)
    assert all(layers.elements_per_token >= 0 for layers in architecture.cache)


if __name__ == "__main__":
    fuzz(parse)

"""config.json as a dictionary in, Architecture out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gpufit.facts.architecture import Architecture
from gpufit.facts.config import Config
from gpufit.facts.families import reader_for

ConfigReader = Callable[[Mapping[str, Any]], Architecture]
"""What turns a config.json into facts: ``parse_config``, or one that asks transformers where that has no reader."""


def parse_config(raw: Mapping[str, Any]) -> Architecture:
    """Read a model configuration (the contents of a config.json).

    >>> llama = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    ...          "num_attention_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096}
    >>> parse_config(llama).parameters
    6738415616

    Raises UnknownFamily where no reader exists and BadConfig where a value is missing or absurd.
    """
    config = Config(raw)
    return reader_for(config.text("model_type"))(config)

"""model_type -> reader. Each reader is imported only when its family is asked for.

A reader is a function ``read(config: Config) -> Architecture`` in the module named here. It mirrors the modelling
code of the transformers version named in its docstring, tensor by tensor, and touches nothing but the config.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from gpufit.errors import UnknownFamily
from gpufit.facts.architecture import Architecture
from gpufit.facts.config import Config

READERS: dict[str, str] = {
    # model_type: module in this package, optionally ":function" (default "read")
    # dense decoders
    "llama": "llama",
    # mixtures of experts, latent attention, state-space and hybrid decoders
    # encoders, encoder-decoders
    # vision, vision-language and speech
}


class Reader(Protocol):
    """What every family module offers."""

    def __call__(self, config: Config) -> Architecture: ...


def reader_for(model_type: str) -> Reader:
    """The reader of that family, or UnknownFamily.

    >>> reader_for("llama").__name__
    'read'
    """
    target = READERS.get(model_type)
    if target is None:
        raise UnknownFamily(model_type, hint="gpufit list shows what it knows")
    module, _, function = target.partition(":")
    reader: Reader = getattr(import_module(f"{__name__}.{module}"), function or "read")
    return reader

"""Architectures by Hub id from what is at hand: the catalog, then a folder of configurations; the Hub last."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gpufit.errors import BadFile, GpufitError
from gpufit.facts.architecture import Architecture
from gpufit.facts.json_text import parse_json
from gpufit.facts.read import parse_config
from gpufit.sources.catalog import Catalog
from gpufit.sources.files import Folder, read_whole

if TYPE_CHECKING:
    from gpufit.sources.http import Transport

LARGEST_CONFIG_BYTES = 4 << 20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)


def known_architectures(catalog: Catalog, configs: Path | None = None) -> Callable[[str], Architecture | None]:
    """A function from a Hub id (or a catalog name) to an Architecture; None for one that is not known.

    An entry of that very id comes first, then a configuration of that name, then an entry that answers to it as an
    alias: checkpoints of one family may differ in their longest context. Configurations lie in ``configs`` as
    ``owner__name.json``. Raises BadFile where ``configs`` is no folder.
    """
    if configs is not None and not configs.is_dir():
        raise BadFile(f"{configs} is not a folder", hint="--configs DIR holds files named owner__name.json")

    @cache
    def find(name: str) -> Architecture | None:
        entry = catalog.find(name)
        if entry is not None and entry.hub_id == name:
            return entry.architecture()
        file = name.replace("/", "__") + ".json"
        if configs is not None and _HUB_ID.fullmatch(name) and (configs / file).is_file():
            content = read_whole(Folder(configs), file, LARGEST_CONFIG_BYTES)
            return parse_config(parse_json(content, file, python_floats=True))
        return entry.architecture() if entry is not None else None

    return find


def or_the_hub(
    known: Callable[[str], Architecture | None],
    environ: Mapping[str, str],
    *,
    transport: Transport | None = None,
) -> Callable[[str], Architecture | None]:
    """``known``, and the Hub for ids that it does not know: each is asked once, and none after the Hub was not reached.

    Raises what the Hub answered (SourceError, AccessNeeded, ...) each time that such a model is looked up.
    """
    answers: dict[str, Architecture | GpufitError] = {}
    gone: list[GpufitError] = []

    def find(name: str) -> Architecture | None:
        found = known(name)
        if found is not None or not _HUB_ID.fullmatch(name):
            return found
        if name not in answers:
            if gone:
                raise gone[0]
            answers[name] = ask(name)
        answer = answers[name]
        if isinstance(answer, GpufitError):
            raise answer
        return answer

    def ask(name: str) -> Architecture | GpufitError:
        from gpufit.sources.http import Unreachable
        from gpufit.sources.resolve_hub import resolve_hub

        try:
            return resolve_hub(name, None, revision=None, environ=environ, transport=transport).architecture
        except Unreachable as error:
            gone.append(error)
            return error
        except GpufitError as error:
            return error

    return find

"""Adding an entry to a catalog file: few lines in the style of models.yaml, everything else in the file as it was."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from gpufit.errors import BadCatalog, BadFile, UsageError
from gpufit.facts.audit import Added
from gpufit.facts.built import BUILT
from gpufit.facts.dtypes import parse_dtype
from gpufit.facts.essence import differing_facts, essential_config, try_parse
from gpufit.records import replace
from gpufit.sources.catalog import Catalog
from gpufit.sources.catalog_file import DTYPES, compile_models
from gpufit.sources.compiled import LARGEST_FILE_BYTES
from gpufit.sources.files import Folder, read_whole
from gpufit.sources.resolve import ResolvedModel

_WIDTH = 120
_ABOUT_THE_FILE = ("auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
_STORED_DTYPE = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_HEADER = "# Models of your own. Every entry is held against its own parameter count: gpufit catalog check THIS_FILE\n"


def add_model(found: ResolvedModel, path: Path, known: Catalog, *, name: str | None, dtype: str | None) -> Added:
    """Append an entry for ``found`` to the catalog file ``path``, made if it is not there.

    Raises UsageError for a name or Hub id that ``known`` holds already and for a dtype that nothing states, BadFile or
    BadCatalog for a file that cannot be read, extended or written. A file is replaced whole or not at all.
    """
    fields = make_fields(found, dtype)
    name = name or _default_name(found)
    for label in (name, fields.get("hub")):
        if label and (entry := known.find(label)) is not None:
            raise UsageError(
                f"{label} is already in the catalog, at {known.source_of(entry)}",
                hint="choose another name with --name" if label == name else f"it is there as {entry.name}",
            )
    # a dotfiles link stays a link: what it points to is replaced
    target = Path(os.path.realpath(path))
    text, line = _append(target, str(path), name, fields)
    return Added(
        name=name, text=text, file=str(path), line=line, parameters=fields["parameters"],
        notes=(*found.notes, *found.architecture.notes),
    )  # fmt: skip


def make_fields(found: ResolvedModel, dtype: str | None = None) -> dict[str, Any]:
    """The entry's fields: the published facts, and of its configuration the keys that decide them."""
    architecture, raw = found.architecture, found.config or found.translated
    if raw is None:
        raise UsageError(f"{found.name} has no configuration to write down")
    stored = _dtype(found) if dtype is None else parse_dtype(dtype)
    if stored not in DTYPES:
        raise UsageError(
            f"{found.name} does not say whether it is stored in fp32, fp16 or bf16", hint="say it with --dtype"
        )
    fields: dict[str, Any] = {"hub": found.hub_id} if found.hub_id else {}
    fields |= {"task": architecture.task, "parameters": architecture.parameters, "dtype": stored}
    if architecture.max_context_tokens:
        fields["context"] = architecture.max_context_tokens
    if found.stored is not None and found.stored.quant:
        fields["notes"] = f"read from a checkpoint stored in {found.stored.quant}, which this entry does not count"
    if architecture.form == BUILT:  # which keys decide is not known here, so all are kept
        fields["config"] = _labels_counted({key: value for key, value in raw.items() if key not in _ABOUT_THE_FILE})
        return fields
    wanted = replace(architecture, dtype=stored)

    def decides(config: Mapping[str, Any]) -> bool:
        parsed = try_parse(config)
        if parsed is None:
            return False
        context = fields.get("context") or parsed.max_context_tokens
        made = replace(parsed, task=architecture.task, dtype=stored, max_context_tokens=context)
        return not differing_facts(wanted, made)

    if not decides(raw):
        raise UsageError(f"{found.name} cannot be written as a catalog entry: its configuration alone does not make it")
    essence = essential_config(_labels_counted(raw), decides)
    fields["config"] = {"model_type": raw["model_type"], **essence}
    return fields


def _labels_counted(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A table of labels says no more about memory than its length does."""
    labels = raw.get("id2label")
    if not isinstance(labels, Mapping) or not labels:
        return dict(raw)
    return {**{key: value for key, value in raw.items() if key != "id2label"}, "num_labels": len(labels)}


def _dtype(found: ResolvedModel) -> str | None:
    """What the weights are stored in: the configuration says so, or the files that were read."""
    if found.architecture.dtype:
        return parse_dtype(found.architecture.dtype)
    most = next(iter(found.stored.dtype_bytes), "") if found.stored is not None else ""
    return _STORED_DTYPE.get(most)


def _default_name(found: ResolvedModel) -> str:
    """The last part of the Hub id or of the path, in lower case."""
    last = Path(found.hub_id or os.path.abspath(found.name))
    stem = last.parent.name if last.name == "config.json" else re.sub(r"\.(gguf|safetensors|json)$", "", last.name)
    name = re.sub(r"[^a-z0-9._+-]+", "-", stem.lower()).strip("-._+")
    if not name:
        raise UsageError(f"{found.name} gives no name for its entry", hint="give one with --name")
    return name[:96]


def _append(target: Path, shown: str, name: str, fields: Mapping[str, Any]) -> tuple[str, int]:
    """Write the entry at the end of the file; returns its text and line."""
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "xb") as file:  # at once the new file and the lock: whoever reads and writes holds it
            try:
                old = _read(target)
                text, content = _extend(old, shown, name, fields)
                line = _prove(old, content, shown, name, fields)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                if target.exists():
                    os.chmod(part, os.stat(target).st_mode & 0o777)
                os.replace(part, target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except FileExistsError:
        raise BadFile(f"{part} is there: another gpufit is writing", hint="remove it if none is") from None
    except OSError as error:
        raise BadFile(f"cannot write {shown}: {error.strerror or error}") from None
    return text, line


def _read(target: Path) -> bytes:
    folder = Folder(target.parent)
    return read_whole(folder, target.name, LARGEST_FILE_BYTES) if os.path.lexists(target) else b""


def _extend(old: bytes, shown: str, name: str, fields: Mapping[str, Any]) -> tuple[str, bytes]:
    """The entry's text and the whole new file, for ``old`` as it was, empty where there was none.

    Raises BadCatalog where the file is no catalog.
    """
    if not old:
        text = render_entry(name, fields)
        return text, f"{_HEADER}\nmodels:\n{text}".encode()
    try:
        entries = compile_models(old)["entries"]
    except BadCatalog as error:
        raise BadCatalog(shown, error.line, error.problem, hint=error.hint) from None
    indent = "  "
    if entries:
        first = old.splitlines()[entries[0]["line"] - 1].decode()
        indent = first[: len(first) - len(first.lstrip())]
    text = render_entry(name, fields, indent)
    newline = "\r\n" if b"\r\n" in old else "\n"
    glue = "\n" if old.endswith(b"\n") else "\n\n"
    return text, old + f"{glue}{text}".replace("\n", newline).encode()


def _prove(old: bytes, content: bytes, shown: str, name: str, fields: Mapping[str, Any]) -> int:
    """The new file must read as the old one and this entry; returns the entry's line."""
    try:
        entries = compile_models(content)["entries"]
    except BadCatalog as error:
        raise BadCatalog(
            shown, error.line, f"an entry cannot be appended: {error.problem}", hint=error.hint or "write it by hand"
        ) from None
    before = compile_models(old)["entries"] if old else []
    if entries[:-1] != before or {**entries[-1], "line": 0} != {"name": name, "line": 0, **fields}:
        raise BadFile(f"an entry cannot be appended to {shown} without changing others", hint="write it by hand")
    return int(entries[-1]["line"])


def render_entry(name: str, fields: Mapping[str, Any], indent: str = "  ") -> str:
    """An entry in the style of models.yaml.

    >>> print(render_entry("tiny", {"task": "causal-lm", "config": {"model_type": "llama", "hidden_size": 64}}), end="")
      tiny:
        task: causal-lm
        config: {model_type: llama, hidden_size: 64}
    """
    lines = [f"{indent}{_scalar(name)}:"]
    for field, value in fields.items():
        if field == "config":
            lines += _wrapped(f"{2 * indent}config: ", list(_words(value)))
        else:
            lines.append(f"{2 * indent}{field}: {_scalar(value)}")
    return "\n".join(lines) + "\n"


def _words(value: Any) -> Iterator[str]:
    """A value in flow style, in the pieces between which a line may break."""
    if isinstance(value, Mapping) and value:
        yield from _joined("{", "}", (_labelled(key, list(_words(inner))) for key, inner in value.items()))
    elif isinstance(value, (list, tuple)) and value:
        yield from _joined("[", "]", (list(_words(inner)) for inner in value))
    else:
        yield _scalar(value)


def _labelled(key: str, words: list[str]) -> list[str]:
    return [f"{_scalar(key)}: {words[0]}", *words[1:]]


def _joined(opening: str, closing: str, items: Iterator[list[str]]) -> Iterator[str]:
    pieces = list(items)
    for number, words in enumerate(pieces):
        first = opening + words[0] if number == 0 else words[0]
        words = [first, *words[1:]]
        words[-1] += closing if number == len(pieces) - 1 else ","
        yield from words


def _scalar(value: object) -> str:
    """One value as YAML writes it inside braces, quoted where it must be."""
    return _text(value) if isinstance(value, str) else _dumped(value)


def _dumped(value: object) -> str:
    import yaml

    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1 << 30)
    return text.strip()[1:-1]


_text = lru_cache(maxsize=4096)(_dumped)  # the same keys come again and again; 1, 1.0 and True would be one key


def _wrapped(start: str, words: list[str]) -> list[str]:
    lines, line = [], start + words[0]
    for word in words[1:]:
        if len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = " " * (len(start) + 1) + word
        else:
            line += " " + word
    return [*lines, line]

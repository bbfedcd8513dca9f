"""YAML as plain data, strictly: what a person meant to write, and nothing a hostile file could do.

``yaml.safe_load`` silently keeps the last of two equal keys, expands aliases without bound and turns dates into
objects. A catalog needs none of that. Here a document is null, bool, int, float, str, list and dict with str keys;
a repeated key, an anchor, an alias, a tag, a second document or deep nesting is a BadCatalog with its line.
"""

from __future__ import annotations

from typing import Any

from gpufit.errors import BadCatalog

Lines = dict[tuple[str | int, ...], int]  # path of a key or list item -> its 1-based line

_DEEPEST = 32
_DEEPEST_LINE_PATH = 3
_LONGEST_NUMBER = 64  # characters; int() of a long text is quadratic
_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {_PREFIX + kind for kind in ("null", "bool", "int", "float", "str")}


def parse_yaml(text_bytes: bytes, path: str) -> tuple[Any, Lines]:
    """Parse one UTF-8 document; ``path`` only names the file in errors. An empty document is None.

    Returns the data and the line of every key and list item down to the third level, by its path from the root.
    Raises BadCatalog, always. The caller bounds the size (see ``sources.compiled``).

    >>> data, lines = parse_yaml(b"gpus:\\n  t4: {mib: 15360}\\n", "gpus.yaml")
    >>> data, lines["gpus", "t4"]
    ({'gpus': {'t4': {'mib': 15360}}}, 2)
    """
    import yaml

    try:
        text = text_bytes.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text_bytes.count(b"\n", 0, error.start) + 1
        raise BadCatalog(path, line, "is not UTF-8 text") from None
    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_hostile_events(loader_class(text), path)
        loader = loader_class(text)
        root = loader.get_single_node()
        lines: Lines = {}
        return (None if root is None else _value_of(loader, root, path, (), lines)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadCatalog(path, mark.line + 1 if mark else 0, f"is not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise BadCatalog(path, 0, f"is not valid YAML: {str(error).splitlines()[0]}") from None


def _refuse_hostile_events(loader: Any, path: str) -> None:
    """Walk the flat stream of events before anything recursive sees the document."""
    import yaml

    depth = 0
    while loader.check_event():
        event = loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise BadCatalog(path, line, "anchors and aliases are not allowed", hint="write the values out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise BadCatalog(path, line, f"is nested deeper than {_DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _value_of(loader: Any, node: Any, path: str, at: tuple[str | int, ...], lines: Lines) -> Any:
    import yaml

    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode) and node.tag == _PREFIX + "map":
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = _key_of(key_node, path, key_line)
            here = (*at, key)
            if key in mapping:
                first = lines.get(here)
                since = f" (first on line {first})" if first else ""
                raise BadCatalog(path, key_line, f"key {key!r} appears twice{since}", hint="keep one of them")
            if len(at) < _DEEPEST_LINE_PATH:
                lines[here] = key_line
            mapping[key] = _value_of(loader, value_node, path, here, lines)
        return mapping
    if isinstance(node, yaml.SequenceNode) and node.tag == _PREFIX + "seq":
        if len(at) < _DEEPEST_LINE_PATH:
            lines.update({(*at, i): item.start_mark.line + 1 for i, item in enumerate(node.value)})
        return [_value_of(loader, item, path, (*at, i), lines) for i, item in enumerate(node.value)]
    if node.tag not in _SCALARS:
        raise BadCatalog(path, line, f"tag {_short(node.tag)} is not allowed", hint="write plain text or numbers")
    if node.tag in (_PREFIX + "int", _PREFIX + "float") and len(node.value) > _LONGEST_NUMBER:
        raise BadCatalog(path, line, f"a number of {len(node.value)} characters")
    try:
        return loader.construct_object(node)
    except (ValueError, KeyError):  # an explicit tag on a text that is not one: !!int abc, !!bool maybe
        raise BadCatalog(path, line, f"{node.value[:40]!r} is not {_short(node.tag)}") from None


def _key_of(node: Any, path: str, line: int) -> str:
    if node.tag != _PREFIX + "str":
        raise BadCatalog(path, line, "a key must be text", hint='quote it, such as "4090"')
    return str(node.value)


def _short(tag: str) -> str:
    return "!!" + tag[len(_PREFIX) :] if tag.startswith(_PREFIX) else tag

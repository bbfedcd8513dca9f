"""The one door for raw configuration: typed, bounded, and remembering which key gave which fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpufit.errors import BadConfig

_LARGEST_INT = 1 << 40  # no published dimension comes near; products of a few stay printable
_MISSING: Any = object()
_Int = int  # inside the class ``int`` is a method


def _summary(values: list[object] | tuple[object, ...]) -> str:
    """A list in a line: itself where it is short, else how often each value occurs in it.

    >>> _summary(["full"] + 8 * ["sliding"])
    '9 values: 1 × full, 8 × sliding'
    """
    texts = [str(value)[:40] for value in values]
    if len(texts) <= 8:
        return ", ".join(texts)
    counts = {text: texts.count(text) for text in dict.fromkeys(texts[:64])}
    if sum(counts.values()) < len(texts) or len(counts) > 8:
        return f"{len(texts)} values: {', '.join(texts[:3])}, ..."
    return f"{len(texts)} values: " + ", ".join(f"{count} × {text}" for text, count in counts.items())


class Config:
    """A read-only view of one config dictionary.

    Every read checks type and range and is recorded in ``seen`` (key -> value), so that ``explain`` can show
    the source of each fact. A value of the wrong type raises ``BadConfig``, never a guess.

    >>> Config({"hidden_size": 4096}).int("hidden_size")
    4096
    """

    __slots__ = ("_raw", "path", "seen")

    def __init__(self, raw: Mapping[str, Any], *, path: str = "", seen: dict[str, object] | None = None) -> None:
        self._raw = raw
        self.path = path
        self.seen: dict[str, object] = {} if seen is None else seen

    def __contains__(self, key: str) -> bool:
        return self._raw.get(key) is not None

    def absent(self, key: str) -> bool:
        """Whether the key is not there at all: a family's default then applies, which a stated null turns off."""
        return key not in self._raw

    def _get(self, key: str, default: Any) -> Any:
        value = self._raw.get(key)
        if value is None:
            if default is _MISSING:
                raise BadConfig(f"config has no {self.path}{key}", hint="the model's config.json must state it")
            return default
        if type(value) in (int, str, bool, float):
            self.seen[self.path + key] = value
        return value

    def _wrong(self, key: str, value: object, wanted: str) -> BadConfig:
        return BadConfig(f"config key {self.path}{key} = {str(value)[:40]!r} is not {wanted}")

    def int(self, key: str, default: _Int | None = _MISSING, *, low: _Int = 0) -> Any:
        """A whole number of at least ``low`` and at most 2⁴⁰."""
        value = self._get(key, default)
        if value is default:
            return value
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= _LARGEST_INT:
            raise self._wrong(key, value, f"a whole number from {low}")
        return value

    def size(self, key: str, default: _Int | None = _MISSING) -> Any:
        """A dimension: a whole number of at least 1."""
        return self.int(key, default, low=1)

    def layers(self, key: str, default: _Int | None = _MISSING) -> Any:
        """A count of layers, experts or heads: 1 to 4,096, so that no loop over it can be made endless."""
        value = self.int(key, default, low=1)
        if value is not default and value > 4096:
            raise self._wrong(key, value, "a count of at most 4096")
        return value

    def flag(self, key: str, default: bool = _MISSING) -> Any:
        """True or False."""
        value = self._get(key, default)
        if value is not default and type(value) is not bool:
            raise self._wrong(key, value, "true or false")
        return value

    def text(self, key: str, default: str | None = _MISSING) -> Any:
        """A string of at most 200 characters."""
        value = self._get(key, default)
        if value is not default and (type(value) is not str or len(value) > 200):
            raise self._wrong(key, value, "a short text")
        return value

    def number(self, key: str, default: float | None = _MISSING) -> Any:
        """A finite number."""
        value = self._get(key, default)
        if value is default:
            return value
        if type(value) not in (int, float) or value != value or abs(value) > 1e18:
            raise self._wrong(key, value, "a number")
        return value

    def list(self, key: str, default: Any = _MISSING) -> Any:
        """A list of at most 4,096 scalars, as a tuple."""
        value = self._get(key, default)
        if value is default:
            return value
        if not isinstance(value, (list, tuple)) or len(value) > 4096:
            raise self._wrong(key, type(value).__name__, "a list of at most 4096 values")
        if any(isinstance(item, (list, tuple, dict)) for item in value):
            raise self._wrong(key, "nested values", "a flat list")
        self.seen[self.path + key] = _summary(value)
        return tuple(value)

    def section(self, key: str) -> Config | None:
        """A nested dictionary (``text_config``, ``vision_config``) as its own view; None where absent."""
        value = self._raw.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self._wrong(key, value, "a section")
        return Config(value, path=f"{self.path}{key}.", seen=self.seen)

    def over(self, defaults: Mapping[str, Any], *, without: tuple[str, ...] = ()) -> Config:
        """The same view with ``defaults`` for the keys it leaves out, and blind to the keys in ``without``.

        >>> Config({"a": 1}).over({"a": 2, "b": 3}).int("b")
        3
        """
        raw = {**defaults, **{key: value for key, value in self._raw.items() if key not in without}}
        return Config(raw, path=self.path, seen=self.seen)

    def raw(self, key: str) -> Any:
        """The untouched value, for shapes that only one family has; the caller checks it."""
        return self._raw.get(key)

    def model_class(self, default: str) -> str:
        """``architectures[0]``: the class the checkpoint was saved from."""
        names = self.list("architectures", ())
        return str(names[0]) if names and isinstance(names[0], str) else default

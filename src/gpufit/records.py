"""Frozen, slotted, keyword-only records: what dataclasses offer, at a tenth of their cost at start.

``dataclasses`` compiles six methods for every class. A command that must answer in a tenth of a second and knows thirty
records would spend a third of its time on that, so here one method is compiled and the others are shared.
``benchmarks/startup.py`` shows the difference. Type checkers treat ``record`` as they treat ``dataclass``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[Any], Any]:
        """Only type checkers need the real one."""
        return lambda decorated: decorated


T = TypeVar("T")
_DERIVED: Any = object()


def derived(*, init: Literal[False] = False) -> Any:
    """A field that ``__post_init__`` fills, through ``object.__setattr__``, and that callers cannot pass.

    ``init`` is there for type checkers alone, which read from it that the field is not passed.
    """
    return _DERIVED


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, eq: bool = True, kw_only: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(derived,))
def record(cls: type[T] | None = None, /, *, eq: bool = True, kw_only: bool = True) -> Any:
    """Make a class with annotated fields a frozen record. With ``eq=False`` it compares and hashes by identity.

    >>> @record
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(x=1), replace(Point(x=1), y=5), Point(x=1) == Point(x=1, y=0)
    (Point(x=1, y=0), Point(x=1, y=5), True)
    """
    if cls is None:
        return lambda decorated: _make(decorated, eq, kw_only)
    return _make(cls, eq, kw_only)


def replace(instance: T, **changes: Any) -> T:
    """A copy of a record with some fields changed."""
    values = {name: getattr(instance, name) for name in instance._passed}  # type: ignore[attr-defined]
    values.update(changes)
    return type(instance)(**values)


def as_dict(instance: object) -> dict[str, Any]:
    """A record's fields by name; records inside it, and tuples of them, likewise.

    >>> @record
    ... class Line:
    ...     ends: tuple[int, int]
    >>> as_dict(Line(ends=(1, 2)))
    {'ends': (1, 2)}
    """
    return {name: _plain(getattr(instance, name)) for name in instance._passed}  # type: ignore[attr-defined]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return as_dict(value) if hasattr(type(value), "_passed") else value


def _make(cls: type[Any], eq: bool, kw_only: bool) -> type[Any]:
    fields = tuple(cls.__annotations__)
    body = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__", *fields)}
    defaults = {name: vars(cls)[name] for name in fields if name in vars(cls)}
    passed = tuple(name for name in fields if defaults.get(name) is not _DERIVED)
    shared = (_Identity if not eq else _Equal).__dict__
    for name in ("__setattr__", "__delattr__", "__repr__", "__reduce__", "__eq__", "__hash__"):
        if name in shared and name not in body:
            body[name] = shared[name]
    body.update(
        __slots__=fields, _passed=passed, __init__=_initializer(passed, defaults, kw_only, "__post_init__" in body)
    )
    made: type[Any] = type(cls.__name__, cls.__bases__, body)
    return made


def _initializer(passed: tuple[str, ...], defaults: dict[str, Any], kw_only: bool, post: bool) -> Any:
    """``__init__`` with one plain assignment a field, compiled from text as dataclasses does."""
    names: dict[str, Any] = {"_set": object.__setattr__}
    parameters = ["self", "*"] if kw_only and passed else ["self"]
    for name in passed:
        if name in defaults:
            names[f"_default_{name}"] = defaults[name]
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
    lines = [f"def __init__({', '.join(parameters)}):"]
    lines += [f" _set(self, {name!r}, {name})" for name in passed]
    lines += [" self.__post_init__()"] if post else []
    exec("\n".join(lines if len(lines) > 1 else [*lines, " pass"]), names)
    return names["__init__"]


def _rebuild(cls: type[Any], values: tuple[Any, ...]) -> Any:
    return cls(**dict(zip(cls._passed, values, strict=True)))


class _Identity:
    """The methods that all records share."""

    __slots__ = ()
    _passed: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen; use gpufit.records.replace")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self._passed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), tuple(getattr(self, name) for name in self._passed))


class _Equal:
    """... and those of records that compare by value."""

    __slots__ = ()
    _passed: tuple[str, ...] = ()
    __setattr__ = _Identity.__setattr__
    __delattr__ = _Identity.__delattr__
    __repr__ = _Identity.__repr__
    __reduce__ = _Identity.__reduce__

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._passed)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._passed))

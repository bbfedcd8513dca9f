"""What the catalog commands found and did, as records that can be shown."""

from __future__ import annotations

from gpufit.records import record

ABSENT = "absent"


@record
class Added:
    """What was written: the entry's name, its text, and the file and 1-based line where it stands."""

    name: str
    text: str
    file: str
    line: int
    parameters: int
    notes: tuple[str, ...] = ()


@record
class Problem:
    """One fault of a catalog; ``line`` is 1-based, 0 where none can be named."""

    file: str
    line: int
    message: str
    hint: str = ""


@record
class Audit:
    """What a look at a whole catalog file found."""

    file: str
    entries: int
    problems: tuple[Problem, ...]


@record
class Difference:
    """A key that differs; a value that is not there reads "absent"."""

    key: str
    catalog: str
    config: str


@record
class Comparison:
    """An entry beside a configuration. ``facts`` names what the two models differ in, beyond the wording of keys."""

    name: str
    source: str
    config_source: str
    differences: tuple[Difference, ...]
    facts: tuple[str, ...]
    catalog_parameters: int
    config_parameters: int

    @property
    def same(self) -> bool:
        """Whether the entry says what the configuration says."""
        return not self.differences and not self.facts

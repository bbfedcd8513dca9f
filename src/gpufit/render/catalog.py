"""What the catalog commands answer, as text and as JSON-ready dictionaries."""

from __future__ import annotations

from gpufit.facts.audit import Added, Audit, Comparison
from gpufit.render.text import Screen, table, wrap


def render_added(added: Added, screen: Screen) -> list[str]:
    """Where the entry stands, and the entry itself as it was written."""
    lines = [f"added {added.name} at {added.file}:{added.line}", "", *added.text.splitlines()]
    for note in added.notes:
        lines += wrap(f"note: {note}", screen.width, "      ")
    return lines


def added_to_dict(added: Added) -> dict[str, object]:
    """The JSON form of ``gpufit catalog add``."""
    return {
        "schema": 1, "ok": True, "added": added.name, "file": added.file, "line": added.line, "entry": added.text,
        "parameters": added.parameters, "notes": list(added.notes),
    }  # fmt: skip


def render_audit(audit: Audit, screen: Screen) -> list[str]:
    """One line a problem, as compilers write them, and the count."""
    lines = [
        screen.paint(f"{problem.file}:{problem.line}", "bold") + f": {problem.message}"
        + (f" ({problem.hint})" if problem.hint else "")
        for problem in audit.problems
    ]  # fmt: skip
    count = len(audit.problems)
    verdict = "no problem" if not count else "1 problem" if count == 1 else f"{count} problems"
    return [*lines, f"{audit.file}: {audit.entries} {'entry' if audit.entries == 1 else 'entries'}, {verdict}"]


def audit_to_dict(audit: Audit) -> dict[str, object]:
    """The JSON form of ``gpufit catalog check``."""
    return {
        "schema": 1, "ok": True, "file": audit.file, "entries": audit.entries,
        "problems": [
            {"file": problem.file, "line": problem.line, "message": problem.message, "hint": problem.hint}
            for problem in audit.problems
        ],
    }  # fmt: skip


def render_comparison(found: Comparison, screen: Screen) -> list[str]:
    """The keys that differ, then whether what matters agrees."""
    lines = wrap(f"{found.name} at {found.source}, held against {found.config_source}", screen.width, "  ")
    if found.differences:
        cells = [("key", "catalog", "config"), *((d.key, d.catalog, d.config) for d in found.differences)]
        lines += table(cells, indent="  ")
    parameters = f"{found.catalog_parameters:,}"
    if found.catalog_parameters != found.config_parameters:
        parameters += f" here, {found.config_parameters:,} there"
    lines.append(f"parameters {'differ' if 'parameters' in found.facts else 'agree'}: {parameters}")
    lines.append("cache differs" if "cache" in found.facts else "cache agrees")
    others = [fact for fact in found.facts if fact not in ("parameters", "cache")]
    if others:
        lines.append(f"they differ in {', '.join(others)}")
    return lines


def comparison_to_dict(found: Comparison) -> dict[str, object]:
    """The JSON form of ``gpufit catalog diff``."""
    return {
        "schema": 1, "ok": True, "name": found.name, "source": found.source, "config_source": found.config_source,
        "same": found.same,
        "differences": [{"key": d.key, "catalog": d.catalog, "config": d.config} for d in found.differences],
        "differing_facts": list(found.facts),
        "parameters": {"catalog": found.catalog_parameters, "config": found.config_parameters},
        "cache_agrees": "cache" not in found.facts,
    }  # fmt: skip

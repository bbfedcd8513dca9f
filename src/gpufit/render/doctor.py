"""A report for a bug: plain text without colour, the same piped and on a terminal, and its JSON twin; both redacted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gpufit.devices.believe import Finding
from gpufit.devices.device import Device
from gpufit.devices.report import Report
from gpufit.records import as_dict, replace
from gpufit.render.gpus_json import SCHEMA, device_to_dict
from gpufit.render.redact import REMOVED, is_secret, make_redactor, redact_all
from gpufit.render.text import table, wrap

_INDENT = "  "
# what a finding's line shows of a device, as the record calls it
_FACTS = (
    "index", "uuid", "total_bytes", "free_bytes", "used_bytes", "reserved_bytes", "shared_bytes", "integrated",
    "driver", "compute_capability", "architecture", "utilization_percent", "temperature_celsius", "power_watts",
)  # fmt: skip


def render_doctor(report: Report, environ: Mapping[str, str], width: int | None = None) -> list[str]:
    """All sections. ``environ`` tells which secrets and which home to take out; piped, lines stay whole."""
    redact = make_redactor(environ)
    places = tuple(replace(place, path=redact(place.path)) for place in report.places)  # before columns are measured
    return [folded for line in _lines(replace(report, places=places)) for folded in _fold(redact(line), width)]


def doctor_to_dict(report: Report, environ: Mapping[str, str]) -> dict[str, object]:
    """Everything of the report that JSON can hold; sizes are integers, null is unknown."""
    probes = report.probes
    record = {
        "schema": SCHEMA,
        "ok": True,
        "gpufit": report.version,
        "versions": dict(report.versions),
        "packages": dict(report.packages),
        "system": as_dict(report.system) if report.system else None,
        "variables": {setting.name: _value(setting.name, setting.value) for setting in report.variables},
        "token_from": report.token_from,
        "places": [as_dict(place) for place in report.places],
        "findings": [_finding(finding) for finding in probes.findings] if probes else [],
        "devices": [device_to_dict(device) for device in probes.devices] if probes else [],
        "notes": list(probes.notes) if probes else [],
        "chosen": report.chosen,
        "commands": [as_dict(said) for said in report.said],
        "files": dict(report.files),
        "troubles": list(report.troubles),
    }
    redacted: dict[str, object] = redact_all(record, make_redactor(environ))
    return redacted


def _lines(report: Report) -> Iterator[str]:
    yield f"gpufit {report.version}"
    yield from _table((*report.versions, *_system(report)))
    yield from _section("Packages", [f"{name} {version}" for name, version in report.packages if version])
    missing = [name for name, version in report.packages if not version]
    yield from _section("Not installed", [", ".join(missing)] if missing else [])
    yield from _section("Set in the environment", _settings(report) or ["nothing that gpufit knows"])
    rows = [(place.name, place.path, f"{place.state} ({place.origin})") for place in report.places]
    yield from _section("Files and folders", table(rows))
    if report.probes is not None:
        yield from _section("Probes", _probes(report.probes.findings))
        yield from _section("Notes", report.probes.notes)
    yield from _section("Chosen by check", [report.chosen])
    yield from _section("Could not be gathered", report.troubles)
    yield from _section("What the tools printed", _said(report))
    yield from _section("What the kernel's files held", [f"{path}: {_one_line(text)}" for path, text in report.files])


def _fold(line: str, width: int | None) -> list[str]:
    indent = line[: len(line) - len(line.lstrip(" "))]
    return wrap(line, width, indent + _INDENT)


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(_INDENT + line for line in lines)] if lines else []


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return table(rows, indent=_INDENT)


def _system(report: Report) -> list[tuple[str, str]]:
    system = report.system
    if system is None:
        return []
    memory = "unknown" if system.total_bytes is None else f"{system.total_bytes} bytes"
    if system.available_bytes is not None:
        memory += f", {system.available_bytes} available"
    return [("kind", system.kind), ("container", system.container or "none seen"), ("memory", memory)]


def _settings(report: Report) -> list[str]:
    lines = [f"{setting.name}={_value(setting.name, setting.value)}" for setting in report.variables]
    return [*lines, f"access token: from {report.token_from}"] if report.token_from not in (None, "none") else lines


def _value(name: str, value: str) -> str:
    return REMOVED if is_secret(name) and value else value


def _probes(findings: Sequence[Finding]) -> list[str]:
    width = max((len(finding.probe) for finding in findings), default=0)
    lines = []
    for finding in findings:
        text = finding.message or f"{len(finding.devices)} device" + ("s" if len(finding.devices) != 1 else "")
        lines.append(f"{finding.probe.ljust(width)}  {finding.outcome.ljust(6)}  {text}")
        lines += [_INDENT + line for device in finding.devices for line in _device(device)]
    return lines


def _device(device: Device) -> list[str]:
    facts = ((name, getattr(device, name)) for name in _FACTS)
    known = [f"{name}={value}" for name, value in facts if value is not None and value is not False]
    held = device.processes
    processes = "unknown" if held is None else str(len(held))
    lines = [f"{device.name}: {', '.join(known)}, processes={processes}"]
    return lines + [_INDENT + note for note in device.notes]


def _said(report: Report) -> list[str]:
    lines = []
    for said in report.said:
        lines.append(f"$ {said.command}" + (f"  (exit {said.code})" if said.code is not None else "  (no exit)"))
        lines += [_INDENT + line for line in said.output.splitlines()]
    return lines


def _one_line(text: str) -> str:
    line = " | ".join(text.split("\n"))
    return line if len(line) <= 300 else line[:300] + " ..."


def _finding(finding: Finding) -> dict[str, object]:
    devices = [device_to_dict(device) for device in finding.devices]
    return {"probe": finding.probe, "outcome": finding.outcome, "message": finding.message, "devices": devices}

"""The text, JSON, timeline and trace of a replay, without torch: records are made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gpufit.memory.workload import Workload
from gpufit.render.replay import chrome_trace, render_replay, replay_to_dict
from gpufit.render.replay_svg import live_by_kind, timeline_svg
from gpufit.render.text import Screen
from gpufit.replay.record import PhaseReplay, Replay
from gpufit.replay.recording import Event, Phase, Recording, find_peaks

RECORDING = Recording(
    residents=(Event(1, 4096, "weights", "layers.0.mlp.weight"),),
    events=(
        Event(2, 2048, "mm", "layers.0.mlp"),
        Event(3, 1024, "cat", "layers.0.self_attn"),
        Event(2, -2048),
        Event(4, 512, "mm", "layers.1.<mlp>"),
        Event(4, -512),
        Event(3, -1024),
    ),
    phases=(Phase(name="prefill", start=0, stop=3), Phase(name="fill", start=3, stop=3, counted=False),
            Phase(name="decode", start=3, stop=6)),
)  # fmt: skip
PEAKS = find_peaks(RECORDING)
REPLAY = Replay(
    model="tiny & <small>", work="inference", resident_bytes=4096, workspace_bytes=0, capability=(8, 0),
    torch_version="2.13.0", transformers_version="5.23.0", recording=RECORDING, notes=("a note",),
    phases=(PhaseReplay(peak=PEAKS[0], closed_form_bytes=3000), PhaseReplay(peak=PEAKS[1])),
    workload=Workload(prompt_tokens=2048, new_tokens=16, quant="bnb-nf4"),
)  # fmt: skip


def test_the_peaks_of_a_recording_are_its_sums() -> None:
    assert [(peak.phase, peak.above_bytes, peak.live_bytes) for peak in PEAKS] == [
        ("prefill", 3072, 7168),
        ("decode", 1536, 5632),
    ]


def test_the_text_holds_phases_differences_and_holdings() -> None:
    text = "\n".join(render_replay(REPLAY, Screen()))
    assert "-2.34%" in text
    assert "layers.*.mlp" in text
    assert "  MLP                          2.0 KiB   66.7%" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "note: a note" in text
    assert "\nprompt 2,048 tokens + new 16, batch 1, fp16, bnb-nf4, sdpa attention\n" in text


def test_a_training_sequence_has_no_new_tokens() -> None:
    step = replace(REPLAY, work="training, full", workload=Workload(prompt_tokens=512, dtype="bf16"))
    assert "\n512 tokens, batch 1, bf16, sdpa attention\n" in "\n".join(render_replay(step, Screen()))


def test_a_terminal_gets_no_line_longer_than_it_is() -> None:
    long = replace(REPLAY, notes=("a note that goes on " * 8,))
    assert max(map(len, render_replay(long, Screen(width=80)))) <= 80
    assert max(map(len, render_replay(long, Screen()))) > 80  # piped, a note stays on its line


def test_the_json_form_is_integers_in_bytes() -> None:
    record = json.loads(json.dumps(replay_to_dict(REPLAY)))
    assert (record["schema"], record["ok"]) == (1, True)
    assert record["phases"][0]["above_weights_bytes"] == 3072
    assert record["phases"][1]["closed_form_bytes"] is None
    assert record["workload"]["prompt_tokens"] == 2048


def test_the_json_form_follows_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the dev extra is not installed")
    schema = json.loads((Path(__file__).parents[2] / "schema" / "gpufit.schema.json").read_text(encoding="utf-8"))
    for replay in (REPLAY, replace(REPLAY, workload=None)):
        jsonschema.validate(json.loads(json.dumps(replay_to_dict(replay))), schema)


def test_the_timeline_is_well_formed_and_marks_each_counted_peak() -> None:
    root = ElementTree.fromstring(timeline_svg(REPLAY))
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}circle")) == 2


def test_the_areas_of_the_timeline_add_up_to_what_lives() -> None:
    marks, columns = live_by_kind(RECORDING)
    assert marks == list(range(len(RECORDING.events) + 1))
    assert [sum(column.values()) for column in columns] == [0, 2048, 3072, 1024, 1536, 1024, 0]
    assert columns[2] == {"MLP": 2048, "cache": 1024}


def test_the_trace_counts_live_bytes_after_every_event() -> None:
    counters = [event["args"]["bytes"] for event in chrome_trace(REPLAY)["traceEvents"] if event["ph"] == "C"]
    assert counters == [6144, 7168, 5120, 5632, 5120, 4096]

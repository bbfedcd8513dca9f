"""``gpufit doctor``: everything in one report, nothing secret in it, and no part that can break the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from told import Answers, Said, recorded
from trees import plant

from gpufit.cli.main import main
from gpufit.devices.amd_sysfs import AmdSysfsProbe
from gpufit.devices.bounded import CommandOutput, Runner
from gpufit.devices.device import Device, ProbeFailed
from gpufit.devices.nvidia_smi import NvidiaSmiProbe
from gpufit.devices.probe import Rounds
from gpufit.devices.report import Report, make_report
from gpufit.devices.settings import read_places, token_origin
from gpufit.devices.system_files import SystemFiles
from gpufit.devices.transcript import LONGEST_CHARACTERS, Transcript
from gpufit.devices.versions import package_versions, torch_target
from gpufit.render.doctor import doctor_to_dict, render_doctor
from gpufit.render.redact import make_redactor

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"
TOOL = Answers({"-q": CommandOutput(code=0, stdout=""), "nvidia-smi": recorded("t4.csv")})


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    home = tmp_path / "home" / "ada"
    (home / ".cache" / "huggingface").mkdir(parents=True, exist_ok=True)
    return {"HOME": str(home), "PATH": os.environ.get("PATH", ""), **more}


def rounds_of(tmp_path: Path) -> Callable[[SystemFiles, Runner], Rounds]:
    """The kernel's files of a desktop, and an nvidia-smi, both through what the report records."""
    tree = plant("amd_desktop", tmp_path / "tree")

    def make(files: SystemFiles, run: Runner) -> Rounds:
        return [[AmdSysfsProbe(files=SystemFiles(root=tree.root, seen=files.seen))], [NvidiaSmiProbe(run=run)]]

    return make


def report(tmp_path: Path, **variables: str) -> tuple[Report, dict[str, str]]:
    own = environ(tmp_path, **variables)
    return make_report(own, rounds_of(tmp_path), TOOL), own


def test_the_report_holds_all_that_was_found_and_read(tmp_path: Path) -> None:
    made, own = report(tmp_path, CUDA_DEVICE_ORDER="PCI_BUS_ID")
    text = "\n".join(render_doctor(made, own))
    for expected in (
        "gpufit ", "CPython ", "  torch built for", "CUDA_DEVICE_ORDER=PCI_BUS_ID", "amd-sysfs   found   2 devices",
        "AMD Radeon RX 7900 XTX: index=0, uuid=GPU-8d1f2a3b4c5d6e7f, total_bytes=25753026560", "integrated=True",
        "$ nvidia-smi --query-gpu=index,name,", "  0, Tesla T4, GPU-5f0a3c1e", "(exit 0)",
        "/sys/class/drm/card1/device/mem_info_vram_used: 1528004608", "~/.config/gpufit/models.yaml",
        "missing (default)",
    ):  # fmt: skip
        assert expected in text, expected
    assert "Chosen by check\n  GPU 0 AMD Radeon RX 7900 XTX, asked through amd-sysfs" in text


def test_json_holds_the_same_and_keeps_to_the_schema(tmp_path: Path, follows_schema: Callable[[object], None]) -> None:
    made, own = report(tmp_path)
    record = doctor_to_dict(made, own)
    assert json.loads(json.dumps(record)) == record
    assert [finding["outcome"] for finding in record["findings"]] == ["found", "found"]  # type: ignore[attr-defined]
    assert [device["vendor"] for device in record["devices"]] == ["AMD", "AMD", "NVIDIA"]  # type: ignore[attr-defined]
    assert record["commands"][0]["code"] == 0  # type: ignore[index]
    follows_schema(record)


SECRETS = {
    "HF_TOKEN": TOKEN,
    "HUGGING_FACE_HUB_TOKEN": "an-opaque-token-9",
    "HTTPS_PROXY": "http://ada:hunter2@proxy.example:8080",
    "HF_ENDPOINT": "https://ada:hunter2@mirror.example?token=abc123def",
    "LD_LIBRARY_PATH": f"/opt/{TOKEN}/lib",
    "GPUFIT_API_KEY": "0123456789abcdef",
}


def test_nothing_secret_is_in_the_report(tmp_path: Path) -> None:
    made, own = report(tmp_path, **SECRETS)
    (tmp_path / "home/ada/.cache/huggingface/token").write_text(TOKEN)
    shown = "\n".join(render_doctor(made, own)) + json.dumps(doctor_to_dict(made, own))
    for secret in (TOKEN, "an-opaque-token-9", "hunter2", "abc123def", "0123456789abcdef", str(tmp_path / "home/ada")):
        assert secret not in shown
    assert "proxy.example:8080" in shown  # what is no secret stays
    assert "HF_TOKEN=<removed>" in shown


def test_each_guard_holds_alone(tmp_path: Path) -> None:
    made, own = report(tmp_path, MY_SECRET="opaque-9x7", LD_LIBRARY_PATH="/opt/opaque-9x7/lib", HF_TOKEN="pw1")
    shown = "\n".join(render_doctor(made, own))
    assert "opaque-9x7" not in shown  # of no known form, in another variable: found by its value
    assert "pw1" not in shown  # too short to look for: hidden by the variable's name


def test_a_tool_that_prints_a_token_is_cleaned_too(tmp_path: Path) -> None:
    chatty = Answers({"nvidia-smi": CommandOutput(code=7, stdout=f"path /home/x token {TOKEN}\n")})
    own = environ(tmp_path)
    made = make_report(own, rounds_of(tmp_path), chatty)
    assert TOKEN in made.said[0].output
    assert "token <removed>" in "\n".join(render_doctor(made, own))


@given(
    st.text(alphabet="abcXYZ019", min_size=3, max_size=37), st.sampled_from(["", " ", "=", ":", '"', "/", "?token="])
)
def test_every_hugging_face_token_is_found_in_any_surroundings(tail: str, before: str) -> None:
    redact = make_redactor({})
    assert f"hf_{tail}" not in redact(f"x{before}hf_{tail} y") or before == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ada/models", "~/models"), ("/home/ada", "~"), ("/home/adam/x", "/home/adam/x"),
        ("HOME='/home/ada'", "HOME='~'"), ("a:/home/ada/b", "a:~/b"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer <removed>"),
        ("https://h/x?a=1&access_token=zzz&b=2", "https://h/x?a=1&access_token=<removed>&b=2"),
        ("git+ssh://me@host", "git+ssh://<removed>@host"), ("mail ada@host", "mail ada@host"),
    ],
)  # fmt: skip
def test_homes_and_addresses(text: str, expected: str) -> None:
    assert make_redactor({"HOME": "/home/ada"})(text) == expected


def test_a_home_that_is_the_root_is_nobodys() -> None:
    assert make_redactor({"HOME": "/"})("/usr/lib") == "/usr/lib"


def test_a_part_that_breaks_is_named_and_the_rest_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpufit.devices import report as module

    def burst() -> None:
        raise RuntimeError("metadata are broken")

    class Bursts(Said):
        def devices(self) -> tuple[Device, ...]:
            raise ZeroDivisionError("a probe's own fault")

    monkeypatch.setattr(module, "package_versions", burst)
    made = make_report(environ(tmp_path), lambda files, run: [[Bursts((), "odd")]])
    assert made.troubles == ("packages: RuntimeError: metadata are broken",)
    assert made.chosen == "nothing: no GPU found; odd broke: ZeroDivisionError: a probe's own fault"
    assert "Could not be gathered" in "\n".join(render_doctor(made, {}))
    assert main(["doctor"]) == 0
    assert "metadata are broken" in capsys.readouterr().out


def test_a_wrong_setting_is_a_trouble_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GPUFIT_FAKE_GPU", "Voodoo")
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["troubles"][0].startswith("probes: GPUFIT_FAKE_GPU: 'Voodoo'")


def test_a_part_that_hangs_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from threading import Event

    from gpufit.devices import report as module

    never = Event()
    monkeypatch.setattr(module, "_LIMIT_SECONDS", 0.3)
    made = make_report(environ(tmp_path), lambda files, run: (never.wait(30), ())[1])  # type: ignore[arg-type]
    never.set()
    assert made.troubles == ("probes: no answer within 0.3 s",)


def test_a_machine_without_any_device_is_reported_with_exit_0(tmp_path: Path) -> None:
    absent = Said(ProbeFailed("nothing here", is_absent=True), "bare")
    made = make_report(environ(tmp_path), lambda files, run: [[absent]])
    assert made.chosen == "nothing: no GPU found"
    assert "bare  absent  nothing here" in "\n".join(render_doctor(made, {}))


def test_lines_fit_a_terminal_and_stay_whole_when_piped(tmp_path: Path) -> None:
    made, own = report(tmp_path)
    narrow = render_doctor(made, own, 80)
    assert all(" " not in line.strip() for line in narrow if len(line) > 80)  # one word, a long path
    assert len(narrow) > len(render_doctor(made, own))


def test_tools_are_quoted_to_a_bounded_length() -> None:
    transcript = Transcript(lambda command, *, limit_seconds: CommandOutput(code=0, stdout="x" * 10**6))
    transcript(("loud",), limit_seconds=1)
    assert len(transcript.said[0].output) < LONGEST_CHARACTERS + 100


def test_versions_come_from_metadata_and_files_alone(tmp_path: Path) -> None:
    found = dict(package_versions())
    assert found["rich"] is not None
    assert found["nvidia-ml-py"] is not None
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\nhip: Optional[str] = '6.4.1'\n")
    assert torch_target(lambda: tmp_path) == "hip 6.4.1"
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert torch_target(lambda: tmp_path) == "cpu"
    assert torch_target(lambda: None) is None
    assert torch_target(lambda: tmp_path / "none") is None


def test_each_setting_says_where_it_came_from(tmp_path: Path) -> None:
    own = environ(tmp_path)
    origins = {place.name: place.origin for place in read_places(own)}
    assert origins == {
        "shipped catalog": "gpufit's own", "your catalog": "default", "table of GPUs": "gpufit's own",
        "compiled tables": "default", "measurements": "default", "measured training": "default",
        "measured contexts": "default", "Hub cache": "default",
    }  # fmt: skip
    moved = {**own, "XDG_CONFIG_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path)}
    origins = {place.name: place.origin for place in read_places(moved)}
    assert (origins["your catalog"], origins["Hub cache"]) == ("XDG_CONFIG_HOME", "HF_HOME")
    assert origins["compiled tables"] == "XDG_CACHE_HOME"
    moved = {place.name: place for place in read_places({**own, "XDG_DATA_HOME": str(tmp_path / "data")})}
    assert moved["measured contexts"].origin == "XDG_DATA_HOME"
    assert moved["measurements"].path == str(tmp_path / "data" / "gpufit" / "measurements.csv")
    assert token_origin(own) == "none"
    (tmp_path / "home/ada/.cache/huggingface/token").write_text(TOKEN)
    assert token_origin(own) == "the login's file"
    assert token_origin({**own, "HF_TOKEN": "x"}) == "HF_TOKEN"


def test_doctor_imports_none_of_the_libraries_it_names() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from gpufit.cli.main import main; main(['doctor']);"
        "print(sorted({'torch', 'transformers', 'accelerate', 'numpy', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"

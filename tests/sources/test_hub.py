"""Hub ids, against a Hub that really listens on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, Repository, serve
from written import LLAMA, safetensors_bytes, safetensors_header, write_gguf

from gpufit.errors import AccessNeeded, GpufitError, SourceError, UnknownName, UsageError
from gpufit.facts.read import parse_config
from gpufit.records import replace
from gpufit.sources import http
from gpufit.sources.http import Answer, Unreachable, get
from gpufit.sources.hub_client import HubClient
from gpufit.sources.resolve import ResolvedModel
from gpufit.sources.resolve_hub import resolve_hub

SHAPES = {name: ("BF16", shape) for name, shape in parse_config(LLAMA).tensors.shapes().items()}
TOTAL = 2 * parse_config(LLAMA).parameters
CONFIG = json.dumps(LLAMA).encode()


@pytest.fixture
def hub() -> Iterator[Hub]:
    tiny = Repository(files={"config.json": CONFIG, "model.safetensors": safetensors_bytes(SHAPES), "README.md": b"#"})
    with serve(Hub(repositories={"ada/tiny": tiny})) as hub:
        yield hub


@pytest.fixture
def environ(hub: Hub, tmp_path: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub.endpoint, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are recorded, not slept."""
    waits: list[float] = []
    monkeypatch.setattr(
        HubClient.__init__, "__kwdefaults__", HubClient.__init__.__kwdefaults__ | {"pause": waits.append}
    )
    return waits


def ask(
    environ: dict[str, str], name: str = "ada/tiny", wanted: str | None = None, revision: str | None = None
) -> ResolvedModel:
    return resolve_hub(name, wanted, revision=revision, environ=environ)


def total(found: ResolvedModel) -> int | None:
    return None if found.stored is None else found.stored.total_bytes


def test_a_hub_id_is_read_by_its_configuration_and_headers(hub: Hub, environ: dict[str, str]) -> None:
    found = ask(environ)
    assert (found.name, found.hub_id, found.commit) == ("ada/tiny", "ada/tiny", COMMIT)
    assert (total(found), found.architecture.parameters * 2) == (TOTAL, TOTAL)
    assert [path.partition("?")[0] for host, path, *_ in hub.asked if host == "hub"] == [
        "/api/models/ada/tiny/revision/main",
        f"/ada/tiny/resolve/{COMMIT}/config.json",
        f"/ada/tiny/resolve/{COMMIT}/model.safetensors",
    ]


def test_no_weights_move(hub: Hub, environ: dict[str, str]) -> None:
    """A repository of 40 MB of weights costs the listing, the configuration and one piece of 64 KiB."""
    large = safetensors_bytes({"w": ("F32", (10_000_000,))})
    hub.repositories["ada/tiny"].files["model.safetensors"] = large
    assert total(ask(environ)) == 40_000_000
    assert hub.bytes_sent < 100_000


def test_a_header_longer_than_the_first_piece_is_read_to_its_end(hub: Hub, environ: dict[str, str]) -> None:
    tensors = {f"layer.{i}.weight": ("F32", (1,)) for i in range(2000)}
    assert len(safetensors_header(tensors)[0]) > 100_000
    hub.repositories["ada/tiny"].files["model.safetensors"] = safetensors_bytes(tensors)
    assert total(ask(environ)) == 8000


def test_shards_are_read_side_by_side_and_joined(hub: Hub, environ: dict[str, str]) -> None:
    files = hub.repositories["ada/tiny"].files
    del files["model.safetensors"]
    weight_map = {}
    for number, (name, shape) in enumerate(SHAPES.items()):
        files[f"model-{number}.safetensors"] = safetensors_bytes({name: shape})
        weight_map[name] = f"model-{number}.safetensors"
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    said: list[str] = []
    found = resolve_hub("ada/tiny", None, revision=None, environ=environ, progress=said.append)
    assert total(found) == TOTAL
    assert f"reading header {len(SHAPES)} of {len(SHAPES)} of ada/tiny" in said


def test_one_gguf_of_many_is_named_after_a_colon(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    keys = {"llama.block_count": 2, "llama.embedding_length": 64, "llama.feed_forward_length": 96,
            "llama.attention.head_count": 4, "llama.context_length": 128,
            "tokenizer.ggml.tokens": [f"token {i}" for i in range(100_000)]}  # fmt: skip
    files = {}
    for kind, size in (("Q4_0", 3600), ("Q8_0", 6800)):
        write_gguf(tmp_path / "m.gguf", "llama", keys, [("token_embd.weight", (100, 64), kind)])
        files[f"{kind}/tiny-{kind}.gguf"] = (tmp_path / "m.gguf").read_bytes()
        assert size == 100 * 64 // 32 * {"Q4_0": 18, "Q8_0": 34}[kind]
    hub.repositories["ada/tiny-GGUF"] = Repository(files=files)
    with pytest.raises(UsageError, match="2 GGUF models") as error:
        ask(environ, "ada/tiny-GGUF")
    assert "ada/tiny-GGUF:Q4_0/tiny-Q4_0.gguf" in error.value.hint
    found = ask(environ, "ada/tiny-GGUF", "Q8_0/tiny-Q8_0.gguf")
    assert (total(found), found.name) == (6800, "ada/tiny-GGUF:Q8_0/tiny-Q8_0.gguf")


def test_both_formats_are_told_and_never_summed(hub: Hub, environ: dict[str, str]) -> None:
    hub.repositories["ada/tiny"].files["tiny.gguf"] = b"GGUF" * 1000
    found = ask(environ)
    assert total(found) == TOTAL
    assert "tiny.gguf (3.9 KiB)" in found.notes[-1]


def test_a_server_without_ranges_serves_too(hub: Hub, environ: dict[str, str]) -> None:
    hub.ranges = False
    assert total(ask(environ)) == TOTAL


@pytest.mark.parametrize("revision", ["v1.0/x", COMMIT])
def test_a_revision_is_a_branch_a_tag_or_a_commit(environ: dict[str, str], revision: str) -> None:
    assert ask(environ, revision=revision).commit == COMMIT


# --- the token


def test_the_token_goes_to_the_hub_and_never_to_the_host_it_redirects_to(hub: Hub, environ: dict[str, str]) -> None:
    ask({**environ, "HF_TOKEN": "hf_good"})
    assert {(host, token) for host, _, token, _ in hub.asked} == {("hub", "hf_good"), ("cdn", None)}


def test_tokens_come_from_the_usual_places(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    login = tmp_path / "cache" / "huggingface" / "token"
    login.parent.mkdir(parents=True)
    login.write_text("hf_good\n")
    other = tmp_path / "other"
    other.write_text("hf_other")
    hub.tokens = ("hf_good", "hf_other", "hf_env")
    for extra, wanted in (
        ({}, "hf_good"),
        ({"HF_TOKEN_PATH": str(other)}, "hf_other"),
        ({"HF_TOKEN": "hf_env", "HF_TOKEN_PATH": str(other)}, "hf_env"),
        ({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, None),
        ({"HF_TOKEN": "hf_env\r\nX-Injected: yes"}, "hf_good"),
    ):
        hub.asked.clear()
        ask({**environ, **extra})
        assert hub.asked[0][2] in (wanted, None if "\r" in extra.get("HF_TOKEN", "") else wanted), extra


@pytest.mark.parametrize("fault", [401, 403, 404, 500, 429, "cut"])
def test_no_error_shows_the_token(hub: Hub, environ: dict[str, str], fault: int | str) -> None:
    hub.faults = [fault] * 8
    with pytest.raises(GpufitError) as error:
        ask({**environ, "HF_TOKEN": "hf_s3cret"})
    assert "s3cret" not in f"{error.value.message} {error.value.hint} {error.value!r}"


# --- refusals: four different sentences


def test_401_without_a_token(environ: dict[str, str]) -> None:
    with pytest.raises(AccessNeeded, match="only with a token: it is private, or there is no such model") as error:
        ask(environ, "ada/missing")
    assert error.value.exit_code == 4


def test_401_with_a_token_that_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(AccessNeeded, match="does not accept the token"):
        ask({**environ, "HF_TOKEN": "hf_bad"})


@pytest.mark.parametrize("token", [{}, {"HF_TOKEN": "hf_good"}])
def test_403_gated_names_the_page_to_open(hub: Hub, environ: dict[str, str], token: dict[str, str]) -> None:
    hub.repositories["ada/tiny"].gated = True
    with pytest.raises(AccessNeeded, match="gated: its licence must be accepted") as error:
        ask({**environ, **token})
    assert f"open {hub.endpoint}/ada/tiny" in error.value.hint
    assert error.value.exit_code == 4


def test_a_gated_model_opens_to_a_token_that_has_accepted(hub: Hub, environ: dict[str, str]) -> None:
    hub.repositories["ada/tiny"].gated, hub.repositories["ada/tiny"].licensed = True, ("hf_good",)
    assert total(ask({**environ, "HF_TOKEN": "hf_good"})) == TOTAL


def test_404_model_revision_and_file(environ: dict[str, str]) -> None:
    with pytest.raises(UnknownName, match="unknown model 'ada/missing'"):
        ask({**environ, "HF_TOKEN": "hf_good"}, "ada/missing")
    with pytest.raises(UsageError, match="no such revision"):
        ask(environ, revision="nowhere")
    with pytest.raises(GpufitError, match="missing"):
        ask(environ, wanted="missing.gguf")


def test_offline_says_so_and_asks_nothing(hub: Hub, environ: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"offline \(HF_HUB_OFFLINE is set\)") as error:
        ask({**environ, "HF_HUB_OFFLINE": "1"})
    assert (hub.asked, error.value.exit_code) == ([], 2)


def test_no_server_is_another_sentence(environ: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"cannot reach 127\.0\.0\.1:9: Connection refused") as error:
        ask({**environ, "HF_ENDPOINT": "http://127.0.0.1:9"})
    assert "HF_ENDPOINT" in error.value.hint


# --- faults


@pytest.mark.parametrize("fault", [429, 500, 502, 503, "cut", "drop"])
def test_three_faults_are_outlived(
    hub: Hub, environ: dict[str, str], no_waiting: list[float], fault: int | str
) -> None:
    hub.faults = [fault] * 3
    assert total(ask(environ)) == TOTAL
    assert no_waiting == [0.5, 1.0, 2.0]


def test_a_fourth_fault_is_told(hub: Hub, environ: dict[str, str]) -> None:
    hub.faults = [503] * 4
    with pytest.raises(SourceError, match="answered 503 for ada/tiny"):
        ask(environ)
    assert len(hub.asked) == 4


def test_retry_after_is_honoured_within_bounds(hub: Hub, environ: dict[str, str], no_waiting: list[float]) -> None:
    hub.faults, hub.retry_after = [429], "7"
    assert total(ask(environ)) == TOTAL
    assert no_waiting == [7.0]
    hub.faults, hub.retry_after = [429], "3600"
    with pytest.raises(SourceError, match="asks to wait 3600 seconds"):
        ask({**environ, "XDG_CACHE_HOME": ""}, revision="v1.0/x")


def test_client_errors_are_not_asked_again(hub: Hub, environ: dict[str, str]) -> None:
    hub.faults = [418]
    with pytest.raises(SourceError, match="answered 418"):
        ask(environ)
    assert len(hub.asked) == 1


def test_a_header_cut_short_is_asked_again_and_never_believed(hub: Hub, environ: dict[str, str]) -> None:
    hub.faults = ["", "", "", "cut"]
    assert total(ask(environ)) == TOTAL
    assert len(hub.asked) == 6  # listing, configuration, redirect and half a header, redirect and header


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_a_slow_answer_ends_at_the_time_limit(hub: Hub, fault: str) -> None:
    hub.faults = [fault]
    with pytest.raises(Unreachable, match=r"time limit|too long"):
        get(f"{hub.endpoint}/ada/tiny/resolve/main/config.json", {}, limit_bytes=10_000, timeout_seconds=0.3)


def test_a_body_larger_than_asked_for_is_not_read(hub: Hub) -> None:
    hub.repositories["ada/tiny"].files["config.json"] = bytes(50_000_000)
    answer = get(f"{hub.endpoint}/ada/tiny/resolve/main/config.json", {}, limit_bytes=1000, timeout_seconds=5)
    assert (answer.status, len(answer.body)) == (200, 1000)


@pytest.mark.parametrize(
    ("listing", "problem"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no commit"),
        (json.dumps({"sha": "main", "siblings": []}).encode(), "no commit"),
        (json.dumps({"sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}).encode(), "a name and a size"),
        (json.dumps({"sha": COMMIT, "siblings": [{"rfilename": 1, "size": 1}]}).encode(), "a name and a size"),
        (json.dumps({"sha": COMMIT, "siblings": [3]}).encode(), "a name and a size"),
        (b" " * (9 << 20), "at most"),
    ],
)
def test_a_listing_that_is_none_is_refused(environ: dict[str, str], listing: bytes, problem: str) -> None:
    def transport(url: str, headers: object, *, limit_bytes: int, timeout_seconds: float) -> Answer:
        return Answer(status=200, headers={}, body=listing[:limit_bytes])

    with pytest.raises(GpufitError, match=problem):
        resolve_hub("ada/tiny", None, revision=None, environ=environ, transport=transport)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "", "http://[bad", "gopher:x"])
def test_redirects_lead_to_http_only_and_end(environ: dict[str, str], location: str) -> None:
    asked = []

    def transport(url: str, headers: object, *, limit_bytes: int, timeout_seconds: float) -> Answer:
        asked.append(url)
        return Answer(status=302, headers={"location": location}, body=b"")

    with pytest.raises(SourceError, match="redirects"):
        resolve_hub("ada/tiny", None, revision=None, environ=environ, transport=transport)
    assert len(asked) <= 5


def test_a_secure_endpoint_is_never_left_for_an_open_one(environ: dict[str, str]) -> None:
    def transport(url: str, headers: object, *, limit_bytes: int, timeout_seconds: float) -> Answer:
        assert url.startswith("https://")
        return Answer(status=302, headers={"location": "http://hub.example/x"}, body=b"")

    with pytest.raises(SourceError, match="does not follow"):
        resolve_hub(
            "ada/tiny",
            None,
            revision=None,
            environ={**environ, "HF_ENDPOINT": "https://hub.example"},
            transport=transport,
        )


def test_a_part_other_than_the_one_asked_for_is_refused(hub: Hub, environ: dict[str, str]) -> None:
    def transport(url: str, headers: dict[str, str], *, limit_bytes: int, timeout_seconds: float) -> Answer:
        answer = http.get(url, headers, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds)
        if answer.status != 206:
            return answer
        return Answer(status=206, headers={**answer.headers, "content-range": "bytes 7-99/100"}, body=answer.body)

    with pytest.raises(SourceError, match="another part"):
        resolve_hub("ada/tiny", None, revision=None, environ=environ, transport=transport)  # type: ignore[arg-type]


def test_a_part_shorter_than_the_one_asked_for_is_refused(environ: dict[str, str]) -> None:
    def transport(url: str, headers: dict[str, str], *, limit_bytes: int, timeout_seconds: float) -> Answer:
        answer = http.get(url, headers, limit_bytes=limit_bytes, timeout_seconds=timeout_seconds)
        return answer if answer.status != 206 else replace(answer, body=answer.body[:-1])

    with pytest.raises(SourceError, match="bytes came where"):
        resolve_hub("ada/tiny", None, revision=None, environ=environ, transport=transport)  # type: ignore[arg-type]


# --- caches


def test_a_commit_once_read_is_not_asked_for_again(hub: Hub, environ: dict[str, str]) -> None:
    ask(environ)
    hub.asked.clear()
    assert total(ask(environ)) == TOTAL
    assert len(hub.asked) == 1  # main may have moved
    hub.asked.clear()
    assert total(ask(environ, revision=COMMIT)) == TOTAL
    assert hub.asked == []


def test_what_was_read_before_serves_offline_and_says_so(hub: Hub, environ: dict[str, str]) -> None:
    ask(environ)
    hub.asked.clear()
    found = ask({**environ, "HF_HUB_OFFLINE": "1"})
    assert (total(found), hub.asked) == (TOTAL, [])
    assert "read before" in found.notes[-1]


def test_a_damaged_cache_is_read_anew(hub: Hub, environ: dict[str, str], tmp_path: Path) -> None:
    ask(environ)
    pieces = list((tmp_path / "cache").rglob("hub/*"))
    assert len(pieces) == 4  # listing, main, configuration, header
    for piece in pieces:
        piece.write_bytes(b"x")
    assert total(ask(environ)) == TOTAL


def test_a_cache_that_cannot_be_written_costs_only_time(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert total(ask({**environ, "XDG_CACHE_HOME": str(tmp_path / "file")})) == TOTAL


def download(environ: dict[str, str], files: dict[str, bytes]) -> None:
    """What huggingface_hub leaves behind."""
    root = Path(environ["XDG_CACHE_HOME"]) / "huggingface" / "hub" / "models--ada--tiny"
    for folder in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (root / folder).mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for number, (name, data) in enumerate(files.items()):
        (root / "blobs" / str(number)).write_bytes(data)
        (root / "snapshots" / COMMIT / name).symlink_to(f"../../blobs/{number}")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_download_is_used_before_the_network(hub: Hub, environ: dict[str, str], revision: str | None) -> None:
    download(environ, {"config.json": CONFIG, "model.safetensors": safetensors_bytes(SHAPES)})
    found = ask(environ, revision=revision)
    assert (total(found), found.commit, hub.asked) == (TOTAL, COMMIT, [])


def test_a_download_of_the_configuration_alone_is_completed(hub: Hub, environ: dict[str, str]) -> None:
    download(environ, {"config.json": CONFIG})
    assert total(ask(environ)) == TOTAL
    assert hub.asked
    offline = ask({**environ, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://x"})
    assert (total(offline), offline.commit) == (None, COMMIT)
    assert "incomplete" in offline.notes[-1]

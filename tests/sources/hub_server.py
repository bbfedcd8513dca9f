"""A Hub on this machine: real sockets, real HTTP, the routes and headers of huggingface.co, and a CDN beside it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Repository:
    """Files of one repository, and how the server behaves when it is asked for them."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    licensed: tuple[str, ...] = ()  # tokens that have accepted the licence


@dataclass
class Hub:
    """What the server holds, what it was asked, and the faults it plays.

    ``faults`` are played first, one a request: a status, or "cut", "slow", "drop", "drip".
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    tokens: tuple[str, ...] = ("hf_good",)
    faults: list[int | str] = field(default_factory=list)
    retry_after: str = ""
    ranges: bool = True
    endpoint: str = ""
    cdn: str = ""
    asked: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)  # host, path, token, range

    @property
    def bytes_sent(self) -> int:
        """Body bytes of all answers so far."""
        return sum(self.sent)

    sent: list[int] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    is_cdn = False

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        hub.asked.append(("cdn" if self.is_cdn else "hub", self.path, token, self.headers.get("Range")))
        fault = hub.faults.pop(0) if hub.faults else None
        if isinstance(fault, int):
            extra = {"Retry-After": hub.retry_after} if hub.retry_after else {}
            return self.answer(fault, b"busy", extra)
        if fault == "drop":
            self.close_connection = True
            return None
        if self.is_cdn:
            return self.send_file(path, str(fault or ""))
        if api := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            return self.send_listing(api[1], api[2], token, str(fault or ""))
        if resolve := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self.send_resolved(resolve[1], resolve[3], token, str(fault or ""))
        return self.answer(404, b"Not Found")

    def allowed(self, name: str, token: str | None, *, listing: bool) -> Repository | None:
        """The repository, or None after the refusal that huggingface.co gives has been sent."""
        repository = self.hub.repositories.get(name)
        if token is not None and token not in self.hub.tokens:
            self.answer(401, b"Invalid credentials")
        elif repository is None or (repository.private and token is None):
            missing = 404 if token else 401  # the Hub does not tell strangers whether a name exists
            self.answer(missing, b"Repository Not Found", {"X-Error-Code": "RepoNotFound"})
        elif repository.gated and not listing and token not in repository.licensed:
            self.answer(403 if token else 401, b"Access restricted", {"X-Error-Code": "GatedRepo"})
        else:
            return repository
        return None

    def send_listing(self, name: str, revision: str, token: str | None, fault: str) -> None:
        repository = self.allowed(name, token, listing=True)
        if repository is None:
            return
        if revision not in ("main", "v1.0/x", COMMIT):
            self.answer(404, b"Invalid rev", {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": file, "size": len(data), "blobId": "0"} for file, data in repository.files.items()]
        body = json.dumps({"id": name, "sha": COMMIT, "gated": repository.gated, "siblings": siblings}).encode()
        self.answer(200, body, fault=fault)

    def send_resolved(self, name: str, file: str, token: str | None, fault: str) -> None:
        repository = self.allowed(name, token, listing=False)
        if repository is None:
            return
        if file not in repository.files:
            self.answer(404, b"Entry not found", {"X-Error-Code": "EntryNotFound"})
        elif file.endswith((".safetensors", ".gguf")):  # large files lie elsewhere
            self.answer(302, b"", {"Location": f"{self.hub.cdn}/{name}/{file}?signature=s3cret"})
        else:
            self.send_ranged(repository.files[file], fault)

    def send_file(self, path: str, fault: str) -> None:
        owner, name, file = path.lstrip("/").split("/", 2)
        self.send_ranged(self.hub.repositories[f"{owner}/{name}"].files[file], fault)

    def send_ranged(self, data: bytes, fault: str) -> None:
        wanted = RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is None or not self.hub.ranges:
            return self.answer(200, data, fault=fault)
        start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        if start >= end:
            return self.answer(416, b"")
        stated = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        return self.answer(206, data[start:end], stated, fault=fault)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, fault: str = "") -> None:
        if fault == "slow":
            time.sleep(0.6)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            if fault == "cut":
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif fault == "drip":
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.05)
            else:
                self.wfile.write(body)
                self.hub.sent.append(len(body))
        except (BrokenPipeError, ConnectionResetError):  # the client stopped listening, as it may
            self.close_connection = True


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run the Hub on 127.0.0.1 and its CDN on another port, so that they are two origins."""
    servers = []
    for is_cdn in (False, True):
        handler = type("Handler", (_Handler,), {"hub": hub, "is_cdn": is_cdn})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append(server)
    hub.endpoint, hub.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()

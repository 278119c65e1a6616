"""A Sentry of our own on this machine: it takes envelopes as the real one does, checks them, and keeps what is in them.

The protocol: https://develop.sentry.dev/sdk/data-model/envelopes/. What it would refuse, it refuses here, too.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef"
PROJECT = 7


@dataclass(frozen=True)
class Item:
    """One thing of an envelope: an event, a transaction, a check-in."""

    kind: str
    body: dict[str, Any]
    envelope: dict[str, Any]  # its header


class Refused(Exception):
    """What is wrong with an envelope."""


class Ingest:
    """What was sent, in its order."""

    def __init__(self, port: int, key: str = KEY) -> None:
        self.dsn = f"http://{key}@127.0.0.1:{port}/{PROJECT}"
        self.key = key
        self.raw: list[bytes] = []  # every body, unpacked
        self.items: list[Item] = []
        self.refusals: list[str] = []

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item.body for item in self.items if item.kind == kind]

    @property
    def events(self) -> list[dict[str, Any]]:
        return self.of("event")

    @property
    def check_ins(self) -> list[dict[str, Any]]:
        return self.of("check_in")

    def errors(self) -> list[tuple[str, str]]:
        """Type and words of the exceptions of all events; those without one by their line."""
        found = []
        for event in self.events:
            values = (event.get("exception") or {}).get("values") or []
            if values:
                found.append((values[-1]["type"], values[-1]["value"]))
            else:
                found.append(("", event["logentry"].get("formatted") or event["logentry"]["message"]))
        return found

    def take(self, auth: str, content_type: str, body: bytes) -> str:
        """Keeps an envelope; answers its id. Raises Refused."""
        fields = dict(re.findall(r"(\w+)=([^,\s]+)", auth.removeprefix("Sentry ")))
        if (
            not auth.startswith("Sentry ")
            or fields.get("sentry_version") != "7"
            or fields.get("sentry_key") != self.key
        ):
            raise Refused(f"the credentials of {auth!r}")
        if content_type != "application/x-sentry-envelope":
            raise Refused(f"the type {content_type!r}")
        first, _, rest = body.partition(b"\n")
        header = json.loads(first)
        items = [Item(kind, content, header) for kind, content in _items(rest)]
        for item in items:
            if item.kind in ("event", "transaction") and not re.fullmatch(r"[0-9a-f]{32}", item.body["event_id"]):
                raise Refused("an event without an id")
            if item.kind == "check_in" and not {"check_in_id", "monitor_slug", "status"} <= set(item.body):
                raise Refused("a check-in that does not say of what")
        self.raw.append(body)
        self.items += items
        return str(header.get("event_id", ""))


def _items(rest: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each item: a line of JSON that says what it is and how long, then so many bytes, then a line's end."""
    while rest.strip(b"\n"):
        line, _, rest = rest.lstrip(b"\n").partition(b"\n")
        said = json.loads(line)
        length = said["length"] if "length" in said else (rest + b"\n").index(b"\n")
        content, rest = rest[:length], rest[length:]
        if len(content) != length or (rest and not rest.startswith(b"\n")):
            raise Refused(f"an item of {len(content)} bytes instead of {length}")
        yield said["type"], json.loads(content) if content.startswith(b"{") else {}


UNPACK = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}


@contextmanager
def sentry_ingest(key: str = KEY) -> Iterator[Ingest]:
    """Listens on a free port while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            try:
                if self.path != f"/api/{PROJECT}/envelope/":
                    raise Refused(f"the address {self.path}")
                plain = UNPACK[self.headers.get("Content-Encoding", "")](body)
                taken = ingest.take(self.headers.get("X-Sentry-Auth", ""), self.headers.get("Content-Type", ""), plain)
                status, answer = 200, {"id": taken}
            except (Refused, ValueError, KeyError) as error:
                ingest.refusals.append(f"{type(error).__name__}: {error}")
                status, answer = 400, {"detail": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ingest = Ingest(server.server_address[1], key)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield ingest
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Tells Prometheus of a machine that has no web process: one small server for one path, and the token, nothing else."""

from __future__ import annotations

import logging
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from detection.metrics.exposition import CONTENT_TYPE, is_token, of_machine

log = logging.getLogger(__name__)

PATH = "/metrics"
SILENT_S = 10.0  # then whoever connected is sent away
AT_ONCE = 16  # connections that wait to be taken


class Scraped(BaseHTTPRequestHandler):
    """Answers a scrape with what this machine's processes counted."""

    timeout = SILENT_S
    server_version = "Nightjar"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"The metrics are at /metrics.\n")
        elif not is_token(self.headers.get("Authorization", "")):
            why = "Send “Authorization: Bearer …” with the token that is set as METRICS_TOKEN.\n"
            self._answer(HTTPStatus.UNAUTHORIZED, "text/plain; charset=utf-8", why.encode())
        else:
            self._answer(HTTPStatus.OK, CONTENT_TYPE, of_machine())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """A scrape comes every few seconds, and its line would say nothing."""
        log.debug(format, *args)


class Server(ThreadingHTTPServer):
    """Raises OSError where the address cannot be had."""

    daemon_threads = True
    request_queue_size = AT_ONCE

    def __init__(self, host: str, port: int) -> None:
        super().__init__((host, port), Scraped)

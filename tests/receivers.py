"""Real servers that are told of things: a webhook's and a mail server's other end."""

from __future__ import annotations

import json
import socketserver
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Post:
    path: str
    headers: dict[str, str]
    json: dict[str, Any]


@dataclass(frozen=True)
class Mail:
    to: list[str]
    content: EmailMessage


class _Served:
    """A server in a thread of this process, on a port of its own."""

    server: socketserver.BaseServer

    def __init__(self) -> None:
        self.over = threading.Event()  # lets go whoever is kept waiting

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


class Hook(_Served):
    """Takes POSTs. Answers 200, or what is next in ``answers``: a status, or "hang", "drip", "close", "odd"."""

    def __init__(self) -> None:
        super().__init__()
        self.posts: list[Post] = []
        self.answers: list[int | str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.posts.append(Post(self.path, dict(self.headers), json.loads(body)))
                hook.answer(self, hook.answers.pop(0) if hook.answers else 200)

            def do_GET(self) -> None:  # where somebody follows a redirect
                hook.posts.append(Post(self.path, dict(self.headers), {}))
                hook.answer(self, 200)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def answer(self, to: BaseHTTPRequestHandler, how: int | str) -> None:
        to.close_connection = True
        match how:
            case "hang":
                self.over.wait(30)
            case "drip":
                to.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not self.over.wait(0.05):
                    to.wfile.write(b"x")
            case "close":
                pass
            case "odd":  # a header without a colon: urllib3 warns of it
                to.wfile.write(b"HTTP/1.1 500 Odd\r\nthis is no header\r\nContent-Length: 0\r\n\r\n")
            case 302:
                to.send_response(302)
                to.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
                to.end_headers()
            case _:
                to.send_response(int(how))
                to.send_header("Content-Length", "0")
                to.end_headers()


@dataclass
class Rules:
    """What a mail server answers where it is not content; "" is silence."""

    recipients: str = "250 fine"
    login: str = "235 welcome"
    data: str = "250 taken"
    extensions: list[str] = field(default_factory=lambda: ["AUTH PLAIN LOGIN"])


class MailServer(_Served):
    """Takes mail by SMTP (RFC 5321), as far as Django's backend speaks it."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Mail] = []
        self.rules = Rules()
        mail_server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                mail_server.talk(self)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    def talk(self, to: socketserver.StreamRequestHandler) -> None:
        def say(line: str) -> None:
            if not line:
                self.over.wait(30)
            to.wfile.write(line.encode() + b"\r\n")

        recipients: list[str] = []
        say("220 sink")
        while line := to.rfile.readline().decode().strip():
            match line.split()[0].upper():
                case "EHLO":
                    greeting = ["sink", *self.rules.extensions]
                    for word in greeting[:-1]:
                        say(f"250-{word}")
                    say(f"250 {greeting[-1]}")
                case "AUTH":
                    say(self.rules.login)
                case "RCPT":
                    recipients.append(line.partition("<")[2].partition(">")[0])
                    say(self.rules.recipients)
                case "DATA":
                    say("354 go on")
                    content = b""
                    while (part := to.rfile.readline()) != b".\r\n":
                        content += part
                    if self.rules.data.startswith("250"):
                        parsed = message_from_bytes(content, policy=policy.default)
                        self.mails.append(Mail(recipients, parsed))  # type: ignore[arg-type]
                    say(self.rules.data)
                case "QUIT":
                    say("221 bye")
                    return
                case _:
                    say("250 fine")

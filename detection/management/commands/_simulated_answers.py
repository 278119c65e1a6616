"""What a simulated camera answers to one request, for each way in which cameras behave."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, get_args

Behaviour = Literal[
    "ok",
    "frozen",  # the picture that it sent last, for ever
    "silent",  # accepts and says nothing
    "half",  # half a picture, then nothing more
    "cut",  # half a picture, then it hangs up
    "trickle",  # a byte a second, from the first of the status line on
    "garbage",  # “image/jpeg” and random bytes
    "html",  # a page where the picture should be
    "redirect",  # to the metadata of a cloud
    "redirect_loop",
    "unauthorised",
    "missing",
    "broken",
    "basic",  # a picture for who says camera:s3cret by Basic
    "digest",  # and by Digest: RFC 7616, MD5, qop=auth
    "huge",  # a picture that never ends
    "refused",  # its address, asked for now, is a port where nobody listens
    "slow",  # a picture, after five seconds
]
BEHAVIOURS: tuple[Behaviour, ...] = get_args(Behaviour)
USER, PASSWORD = "camera", "s3cret"
STREAM_FPS = 10.0
SLOW_S = 5.0
BOUNDARY = "simulated"


class Cameras(Protocol):
    """What an answer needs to know of the cameras, each by its number."""

    count: int
    nonce: str
    behaviours: dict[int, Behaviour]
    requests: Counter[int]

    def picture(self, number: int, *, same: bool = False) -> bytes:
        """The next picture of a camera as a JPEG, or the one that it sent last."""


class Visit:
    """One request and its answer."""

    def __init__(
        self, cameras: Cameras, request: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.cameras, self.request, self.reader, self.writer = cameras, request, reader, writer
        self.path = (request.split(" ", 2)[1:] or [""])[0]
        match = re.fullmatch(r"/cameras/(\d+)(\.jpg|\.mjpeg|\.bare\.mjpeg)(\?.*)?", self.path)
        self.number = int(match[1]) if match else -1
        self.suffix = match[2] if match else ""

    async def answer(self) -> None:
        if not 0 <= self.number < self.cameras.count:
            await self._say("404 Not Found", b"There is no such camera.")
            return
        self.cameras.requests[self.number] += 1
        behaviour = self.cameras.behaviours.get(self.number, "ok")
        ways: dict[Behaviour, Callable[[], Awaitable[None]]] = {
            "ok": self._ok,
            "frozen": lambda: self._ok(same=True),
            "silent": self._wait_for_the_end,
            "half": self._half,
            "cut": self._cut,
            "trickle": self._trickle,
            "garbage": lambda: self._ok(content=secrets.token_bytes(20_000)),
            "html": lambda: self._say("200 OK", b"<!doctype html><title>Log in</title><h1>Log in</h1>"),
            "redirect": lambda: self._move("http://169.254.169.254/latest/"),
            "redirect_loop": lambda: self._move(f"{self.path.partition('?')[0]}?{secrets.token_hex(4)}"),
            "unauthorised": lambda: self._challenge('Basic realm="camera"'),
            "missing": lambda: self._say("404 Not Found", b"There is nothing here."),
            "broken": lambda: self._say("500 Internal Server Error", b"The camera has a fault."),
            "basic": self._basic,
            "digest": self._digest,
            "huge": self._huge,
            "refused": self._hang_up,
            "slow": self._slow,
        }
        await ways[behaviour]()

    # ---- pictures

    async def _ok(self, *, same: bool = False, content: bytes = b"") -> None:
        """One picture, or a stream of them until the other side has enough."""
        if self.suffix == ".jpg":
            await self._write(self._head_and(content or self.cameras.picture(self.number, same=same)))
            return
        await self._write(self._stream_head())
        gone = False
        while not gone:
            await self._write(self._part(content or self.cameras.picture(self.number, same=same)))
            gone = await self._gone(1 / STREAM_FPS)

    async def _slow(self) -> None:
        if not await self._gone(SLOW_S):
            await self._ok()

    async def _half(self) -> None:
        await self._cut()
        await self._wait_for_the_end()

    async def _cut(self) -> None:
        answer = self._picture_answer()
        await self._write(answer[: len(answer) // 2])

    async def _trickle(self) -> None:
        for byte in self._picture_answer():
            await self._write(bytes([byte]))
            if await self._gone(1.0):
                return

    async def _huge(self) -> None:
        """A picture's beginning and then zeros for ever, without a length."""
        picture = self.cameras.picture(self.number)
        head = _head("200 OK", "image/jpeg") if self.suffix == ".jpg" else self._stream_head() + self._part_head(None)
        await self._write(head + picture[: len(picture) // 2])
        while not self.writer.is_closing():
            await self._write(bytes(256 * 1024))
            await asyncio.sleep(0.005)  # the other cameras' turn

    def _picture_answer(self) -> bytes:
        picture = self.cameras.picture(self.number)
        return self._head_and(picture) if self.suffix == ".jpg" else self._stream_head() + self._part(picture)

    def _head_and(self, content: bytes) -> bytes:
        return _head("200 OK", "image/jpeg", f"Content-Length: {len(content)}") + content

    def _stream_head(self) -> bytes:
        return _head("200 OK", f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    def _part_head(self, length: int | None) -> bytes:
        lines = [f"--{BOUNDARY}", "Content-Type: image/jpeg"]
        if length is not None and self.suffix == ".mjpeg":
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()

    def _part(self, content: bytes) -> bytes:
        return self._part_head(len(content)) + content + b"\r\n"

    # ---- other answers

    async def _basic(self) -> None:
        expected = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self._header("authorization") == expected:
            await self._ok()
        else:
            await self._challenge('Basic realm="camera"')

    async def _digest(self) -> None:
        if _digest_holds(self._header("authorization"), "GET", self.path, self.cameras.nonce):
            await self._ok()
        else:
            await self._challenge(f'Digest realm="camera", qop="auth", algorithm=MD5, nonce="{self.cameras.nonce}"')

    async def _challenge(self, how: str) -> None:
        await self._say("401 Unauthorized", b"Who are you?", f"WWW-Authenticate: {how}")

    async def _move(self, location: str) -> None:
        await self._say("302 Found", b"", f"Location: {location}")

    async def _say(self, status: str, content: bytes, *headers: str) -> None:
        await self._write(_head(status, "text/html", f"Content-Length: {len(content)}", *headers) + content)

    async def _hang_up(self) -> None:
        self.writer.transport.abort()

    # ---- the connection

    def _header(self, name: str) -> str:
        match = re.search(rf"^{name}:[ \t]*(.*?)\r$", self.request, re.IGNORECASE | re.MULTILINE)
        return match[1] if match else ""

    async def _write(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def _gone(self, wait_s: float) -> bool:
        """Whether the other side hangs up within these seconds; what it says meanwhile is not listened to."""
        try:
            async with asyncio.timeout(wait_s):
                await self._wait_for_the_end()
        except TimeoutError:
            return False
        return True

    async def _wait_for_the_end(self) -> None:
        while await self.reader.read(65536):
            pass


def _head(status: str, content_type: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode()


def _digest_holds(header: str, method: str, path: str, nonce: str) -> bool:
    """Whether an Authorization header knows the password (RFC 7616, 3.4.1, for MD5 and qop=auth)."""
    said = {name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]*))', header)}
    if not header.startswith("Digest ") or said.get("nonce") != nonce or said.get("uri") != path:
        return False
    who, what = _md5(f"{USER}:camera:{PASSWORD}"), _md5(f"{method}:{path}")
    middle = ":".join(said.get(name, "") for name in ("nonce", "nc", "cnonce", "qop"))
    return said.get("username") == USER and hmac.compare_digest(
        said.get("response", ""), _md5(f"{who}:{middle}:{what}")
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

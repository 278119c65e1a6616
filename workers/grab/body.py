"""The bytes of an answer, as far as they are allowed, and the first picture of a multipart stream.

What a header says of the content is not believed: a stream is taken apart by the bytes that are there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from urllib3.exceptions import ReadTimeoutError

from workers.grab.types import GrabError

if TYPE_CHECKING:
    import requests

    from workers.grab.line import Clock

BLOCK = 256 * 1024
MAX_HEAD = 64 * 1024  # bytes before a stream's first picture
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
NO_PICTURE = "What the camera sends is not a picture. Look whether its address is the one of a picture."
CUT_OFF = "The camera hung up in the middle of a picture."


class Body:
    """An answer's content, read once from front to back, up to ``most`` bytes.

    The first byte of a picture must come by the clock as it is; then the clock is set to ``until``.
    """

    def __init__(self, clock: Clock, until: float, most: int) -> None:
        self.began_at_s = 0.0
        self._clock, self._until, self.most = clock, until, most
        self._taken = 0

    def open(self, response: requests.Response) -> None:
        self._raw = response.raw
        length = response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and int(length) > self.most:
            self.refuse()

    def begin(self) -> None:
        """The picture's first byte is there."""
        if not self.began_at_s:
            self.began_at_s = time.time()
            self._clock.until = self._until

    def read(self) -> bytes:
        """What there is, at least a byte; nothing at the end."""
        self._clock.left()
        block: bytes = self._raw.read1(BLOCK, decode_content=True)
        self._taken += len(block)
        if self._taken > self.most + MAX_HEAD:
            self.refuse()
        return block

    def more_of(self, data: bytearray) -> bytes:
        """What comes after ``data``; nothing at the end, and nothing where time is over and a whole JPEG is there.

        A camera that says no length may be silent after a picture, until it has the next one.
        """
        try:
            return self.read()
        except (TimeoutError, ReadTimeoutError):
            if not _is_whole_jpeg(data):
                raise
        del data[data.rindex(JPEG_END) + len(JPEG_END) :]
        return b""

    def rest(self, first: bytes = b"") -> bytes:
        """All of it."""
        data = bytearray(first)
        if first:
            self.begin()
        while block := self.more_of(data):
            self.begin()
            data += block
        if len(data) > self.most:
            self.refuse()
        return bytes(data)

    def refuse(self) -> None:
        raise GrabError(
            f"The camera's picture is larger than the {self.most / 1e6:,.3g} MB that are allowed. Set the camera to "
            "a smaller picture, or choose MJPEG where it sends a stream.",
            kind="too_large",
            permanent=True,
        )


def _is_whole_jpeg(data: bytearray) -> bool:
    return data.startswith(JPEG_START) and data[-16:].rstrip(b"\r\n").endswith(JPEG_END)


def first_part(body: Body) -> bytes:
    """The first whole picture of a multipart/x-mixed-replace stream, with or without lengths (RFC 2046, 5.1).

    The delimiter is the first line that begins with two dashes: cameras disagree on how their header names it. Where
    the camera sends a single picture after all, that is it.
    """
    data = bytearray()
    head: tuple[bytes, int | None, int] | None = None
    while head is None:
        block = body.read()
        data += block
        if data.startswith(PICTURES):
            return body.rest(bytes(data))
        head = _part_head(data)
        if head is None and (not block or len(data) > MAX_HEAD):
            raise GrabError(NO_PICTURE, kind="garbage")
    delimiter, length, start = head
    del data[:start]
    return _sized(body, data, length) if length is not None else _delimited(body, data, delimiter)


def _part_head(data: bytearray) -> tuple[bytes, int | None, int] | None:
    """Delimiter, length and start of the first part's content; None where its head is not whole yet."""
    at = 0 if data.startswith(b"--") else data.find(b"\n--") + 1
    if at == 0 and not data.startswith(b"--"):
        return None
    line_end = data.find(b"\n", at)
    ends = [(data.find(mark, at), len(mark)) for mark in (b"\r\n\r\n", b"\n\n")]
    found = min(((end, size) for end, size in ends if end >= 0), default=None)
    if line_end < 0 or found is None:
        return None
    end, size = found
    length = None
    for line in bytes(data[line_end + 1 : end]).split(b"\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    return bytes(data[at:line_end]).rstrip(), length or None, end + size


def _sized(body: Body, data: bytearray, length: int) -> bytes:
    if length > body.most:
        body.refuse()
    while len(data) < length:
        if data:
            body.begin()
        block = body.read()
        if not block:
            raise GrabError(CUT_OFF, kind="garbage")
        data += block
    body.begin()
    return bytes(data[:length])


def _delimited(body: Body, data: bytearray, delimiter: bytes) -> bytes:
    mark, seen = b"\n" + delimiter, 0
    while (end := data.find(mark, seen)) < 0:
        if data:
            body.begin()
        seen = max(0, len(data) - len(mark))
        block = body.more_of(data)
        if not block:
            return bytes(data)  # the decoder tells whether it is whole
        data += block
    body.begin()
    return bytes(data[: end - 1 if data[end - 1 : end] == b"\r" else end])

"""Serving stored files in pieces, from any storage, never whole in memory (RFC 9110: ranges, ETags, If-Range)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.files import File
from django.core.files.storage import Storage, default_storage
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header, parse_etags

log = logging.getLogger(__name__)

BLOCK = 256 * 1024
# A player asks for "all from here" and then reads as slowly as it plays, and a paused one holds the connection for
# ever. It is given a piece at a time, and asks for the next one itself.
PLAYER_PIECE = 8 * 1024**2
# Whatever was uploaded is a picture or a clip to the browser, and runs nothing: not even where it is opened by itself.
POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; frame-ancestors 'self'; sandbox"


@dataclass(frozen=True, slots=True)
class Served:
    """A stored file as it goes out. ``etag`` names its bytes; ``file_name`` is what a person saves it as."""

    name: str
    content_type: str
    etag: str
    file_name: str
    is_inline: bool = True
    max_age_s: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """First and last byte, both inclusive."""

    first: int
    last: int


def serve(request: HttpRequest, what: Served, storage: Storage = default_storage) -> HttpResponseBase:
    """The file, or the range of it that was asked for. Access is the caller's to check before. 404 where it is gone."""
    etag = f'"{what.etag}"'
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        return _headed(HttpResponse(status=304), what, etag)
    try:
        file = storage.open(what.name, "rb")
        size = file.size
    except FileNotFoundError:
        log.error("%s is not in the storage, though its row is there", what.name)
        raise Http404("This file is not in the storage any more.") from None
    try:
        part = requested_range(request, etag, size)
    except ValueError:
        file.close()
        response: HttpResponseBase = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{size}"
        return _headed(response, what, etag)
    whole = Range(0, size - 1)
    response = _body(request, file, part or whole)
    response["Content-Length"] = str((part or whole).last - (part or whole).first + 1)
    if part:
        response.status_code = 206
        response["Content-Range"] = f"bytes {part.first}-{part.last}/{size}"
    return _headed(response, what, etag)


def _headed(response: HttpResponseBase, what: Served, etag: str) -> HttpResponseBase:
    response["ETag"] = etag
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = f"private, max-age={what.max_age_s}" if what.max_age_s else "private, no-cache"
    if response.status_code in (304, 416):
        del response["Content-Type"]
        return response
    response["Content-Type"] = what.content_type
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = POLICY
    disposition = content_disposition_header(not what.is_inline, what.file_name)
    if disposition:
        response["Content-Disposition"] = disposition
    return response


def _body(request: HttpRequest, file: File, part: Range) -> HttpResponseBase:
    if request.method == "HEAD":
        file.close()
        return HttpResponse()
    return StreamingHttpResponse(Blocks(file, part))


class Blocks:
    """The bytes of a range in blocks. Closed by the response, also where the reader went away before the first."""

    def __init__(self, file: File, part: Range) -> None:
        self.file = file
        self.part = part
        self.body: Any = None  # of a bucket's answer

    def __iter__(self) -> Iterator[bytes]:
        # django-storages' S3 file would fetch the whole object on its first read; the object itself can give a range.
        s3_object = getattr(self.file, "obj", None)
        if s3_object is not None:
            self.body = s3_object.get(Range=f"bytes={self.part.first}-{self.part.last}")["Body"]
            yield from self.body.iter_chunks(BLOCK)
            return
        self.file.seek(self.part.first)
        left = self.part.last - self.part.first + 1
        while left > 0 and (block := self.file.read(min(BLOCK, left))):
            left -= len(block)
            yield block

    def close(self) -> None:
        self.file.close()
        if self.body is not None:  # with its connection, where the reader went away in the middle
            self.body.close()


def requested_range(request: HttpRequest, etag: str, size: int) -> Range | None:
    """The one range that was asked for, or None for the whole file. Raises ValueError where it lies outside the file.

    What is not understood is ignored, as RFC 9110 section 14.2 has it: other units, several ranges, a stale If-Range.
    """
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "").replace(" ", ""))
    if not match or match[0] == "bytes=-" or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = (int(text) if text else None for text in match.groups())
    if first is None:
        if last == 0 or size == 0:
            raise ValueError("an empty suffix")
        return Range(max(0, size - (last or 0)), size - 1)
    if first >= size:
        raise ValueError("after the end")
    if last is None:
        return Range(first, min(size, first + PLAYER_PIECE) - 1 if _is_player(request) else size - 1)
    return None if last < first else Range(first, min(last, size - 1))


def _is_player(request: HttpRequest) -> bool:
    """Whether a media element asks; over plain HTTP browsers do not say, but resumed downloads send If-Range."""
    destination = request.headers.get("Sec-Fetch-Dest")
    return destination in ("video", "audio") if destination else "If-Range" not in request.headers

"""Uploads to a running web process, as a browser sends them, for benches."""

from __future__ import annotations

import io
import json
import secrets
from http.client import HTTPConnection, HTTPException
from typing import Any

import numpy as np
from django.conf import settings
from PIL import Image

BOUNDARY = "a-boundary-between-the-parts"
BLOCK = 1024**2
TOKEN = secrets.token_hex(16)


def picture() -> bytes:
    """A small picture of noise, like no other."""
    pixels = np.frombuffer(secrets.token_bytes(40 * 40 * 3), np.uint8).reshape(40, 40, 3)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((160, 160)).save(out, format="JPEG")
    return out.getvalue()


def upload(
    address: str, session_key: str, *, size: int = 0, timeout_s: float = 300
) -> tuple[int, list[dict[str, Any]]]:
    """Uploads a picture, with nothing behind it up to a size; answers the status and what was said of each file.

    Status 0 where there was no answer. Of what is sent no more than a block is in memory.
    """
    head = picture()
    before = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="{secrets.token_hex(4)}.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + head
    rest, after = max(0, size - len(head)), f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {
        "Cookie": f"{settings.SESSION_COOKIE_NAME}={session_key}; {settings.CSRF_COOKIE_NAME}={TOKEN}",
        "X-CSRFToken": TOKEN,
        "Accept": "application/json",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        "Content-Length": str(len(before) + rest + len(after)),
    }
    connection = HTTPConnection(address, timeout=timeout_s)
    try:
        connection.putrequest("POST", "/upload/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        connection.send(before)
        block = bytes(BLOCK)
        for sent in range(0, rest, BLOCK):
            connection.send(block[: rest - sent])
        connection.send(after)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body).get("files", []) if answer.status == 201 else []
    except (OSError, HTTPException, ValueError):
        return 0, []
    finally:
        connection.close()

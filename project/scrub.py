"""Takes credentials out of what leaves the process as text: the log and Sentry.

The last line of defence: addresses are shown without their secrets in the first place, but libraries put whole URLs
into their exceptions. In doubt it takes out too much: an “@” later in a URL costs the log the host, and no more.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

HIDDEN = "•••"
DEEPEST = 30

_NAMED = r"(?:passw|pass|pwd|token|key|secret|auth|user|usr|sig|login|credential)"
_QUOTED = r""""(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'|\\+"[^"\r\n]*"|\\+'[^'\r\n]*'"""
_SCHEME = r"\b[a-z][a-z0-9+.\-]{0,30}://"

# Up to the last “@” of the word: passwords are entered with “/”, “@” and “:” in them.
_USERINFO = re.compile(rf"({_SCHEME})[^\s\"'<>]{{1,2000}}@", re.IGNORECASE)
# And with spaces and quotes; but what follows a name and a port is no password.
_ODD_USERINFO = re.compile(
    rf"({_SCHEME})[^\s/@:\[\]\"']{{0,200}}:(?!\d{{1,5}}(?:[/?#\s\"',;.)\]]|$))[^\r\n@]{{0,200}}@[^\s@/]*@?",
    re.IGNORECASE,
)
_ENCODED_USERINFO = re.compile(r"(%3a(?:%2f|/){2})[^\s\"'<>&]{1,2000}(?:%40|@)", re.IGNORECASE)
# ?name=value and &name=value, where the name only needs to contain a word, as in X-Amz-Signature or loginpas.
_QUERY = re.compile(rf"([?&;][^=&?\s\"'<>]{{0,60}}{_NAMED}[^=&\s\"'<>]{{0,60}}=)[^&\s\"<>]+", re.IGNORECASE)
_ENCODED_QUERY = re.compile(
    rf"((?:%3f|%26)[^=&\s\"'%]{{0,60}}{_NAMED}[^=&\s\"'%]{{0,60}}%3d)(?:(?!%26)[^&\s\"<>])+", re.IGNORECASE
)
# A query string by itself, a connection's description, a Digest header's parts: here the whole name counts.
_PAIR = re.compile(
    r"((?:^|[\s,({\[\"'])(?:password|passwd|pass|pwd|passphrase|token|access_token|api_?key|key|secret|auth|username|user"
    rf"|usr|sig|signature|nonce|cnonce|response)=)({_QUOTED}|[^&\s\"'<>,)\]}}]+)",
    re.IGNORECASE | re.MULTILINE,
)
# To the end of the line, or of the plain quotes around it; with quotes in the quotes nobody knows where they end.
_HEADER = re.compile(
    r"((?:authorization|cookie)\\*[\"']?\s*[:=]\s*)(?:b?(?:\"[^\"\\\r\n]*\"|'[^'\\\r\n]*')|[^\r\n]+)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer\s+)[a-z0-9+/=._~\-]{8,}", re.IGNORECASE)
_BASIC = re.compile(r"\b(basic\s+)([a-z0-9+/]{4,}={0,2})", re.IGNORECASE)

_SECRET_NAMES = re.compile(r"passw|passphrase|^pass$|^pwd$|secret|token|authorization|cookie|api_?key", re.IGNORECASE)


def scrub(text: str) -> str:
    """The text with ••• for credentials in URLs, in parameters that are named like secrets, and in headers."""
    if "@" in text or "%40" in text:
        text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
        text = _ODD_USERINFO.sub(_odd, text)
        text = _ENCODED_USERINFO.sub(rf"\1{HIDDEN}%40", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    if "=" in text:
        text = _QUERY.sub(rf"\1{HIDDEN}", text)
        text = _PAIR.sub(rf"\1{HIDDEN}", text)
    if "%3" in text:
        text = _ENCODED_QUERY.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    return _BASIC.sub(_basic, text)


def before_send(event: Any, hint: Any = None) -> Any:
    """For Sentry: the event with every text scrubbed."""
    return _walk(event, 0)


def before_send_transaction(event: Any, hint: Any = None) -> Any:
    """As above; of calls to other machines only that they were made: a camera's path and query are secrets, too."""
    spans = [_without_address(span) for span in event.get("spans") or ()]
    return _walk({**event, "spans": spans}, 0)


def before_breadcrumb(crumb: Any, hint: Any = None) -> Any:
    """As above; a call to another machine leaves no crumb."""
    return None if crumb.get("category") == "httplib" else _walk(crumb, 0)


def _without_address(span: Any) -> Any:
    if not str(span.get("op", "")).startswith("http.client"):
        return span
    return {**span, "description": str(span.get("description", "")).partition(" ")[0], "data": {}}


def _walk(value: Any, depth: int) -> Any:
    """A copy with every text in it scrubbed, keys as well; what lies too deep, or in a circle, is hidden."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, bytes | bytearray):
        return scrub(value.decode("utf-8", "replace"))
    if isinstance(value, dict | list | tuple | set | frozenset) and depth >= DEEPEST:
        return HIDDEN
    if isinstance(value, dict):
        return {_walk(key, depth): _member(key, content, depth + 1) for key, content in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        walked = [_walk(content, depth + 1) for content in value]
        return walked if isinstance(value, list) else tuple(walked)
    return value


def _member(key: Any, value: Any, depth: int) -> Any:
    if isinstance(key, str) and isinstance(value, str | bytes) and value and _SECRET_NAMES.search(key):
        return HIDDEN
    return _walk(value, depth)


def _odd(found: re.Match[str]) -> str:
    """Leaves alone what was scrubbed already."""
    if found[0].startswith(found[1] + HIDDEN):
        return found[0]
    tail = found[0].rpartition("@")[2]
    return f"{found[1]}{HIDDEN}@{tail}"


def _basic(found: re.Match[str]) -> str:
    """Only where it is a name and a password: “basic understanding” is not."""
    try:
        plain = base64.b64decode(found[2] + "=" * (-len(found[2]) % 4), validate=True)
    except (binascii.Error, ValueError):
        return found[0]
    return f"{found[1]}{HIDDEN}" if b":" in plain else found[0]

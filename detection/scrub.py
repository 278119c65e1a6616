"""Takes credentials out of what leaves the process as text: the log, Sentry, Flower, and errors that rows keep.

The last line of defence: addresses are shown without their secrets in the first place, but libraries put whole URLs
into their exceptions. In doubt it takes out too much: an “@” later in a URL costs the log the host, and no more.
What this installation itself holds secret is known (``know``), and is taken out wherever it stands.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

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
# A query string by itself, a connection's description, a Digest header's parts, some cameras' paths: here the whole
# name counts.
_PAIR = re.compile(
    r"((?:^|[\s,({\[\"'_/])(?:password|passwd|pass|pwd|passphrase|token|access_token|(?:api|access|secret|private)_?key|key"
    r"|secret|auth|username|user|usr|sig|signature|nonce|cnonce|response|sessionid|csrftoken|csrfmiddlewaretoken)=)"
    rf"({_QUOTED}|[^&\s\"'<>,)\]}}]+)",
    re.IGNORECASE | re.MULTILINE,
)
# As in YAML.
_NAMED_LINE = re.compile(
    r"((?:^|[\s,({\[\"'])(?:password|passwd|passphrase|pwd|secret|(?:api|access|secret|private)_?key):[ \t]*)"
    rf"({_QUOTED}|[^\s\"'<>,)\]}}]+)",
    re.IGNORECASE | re.MULTILINE,
)
# To the end of the line, or of the plain quotes around it; with quotes in the quotes nobody knows where they end.
_HEADER = re.compile(
    r"((?:authorization|cookie)\\*[\"']?\s*[:=]\s*)(?:b?(?:\"[^\"\\\r\n]*\"|'[^'\\\r\n]*')|[^\r\n]+)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer\s+)[a-z0-9+/=._~\-]{8,}", re.IGNORECASE)
# As the representation of a dictionary has it.
_MEMBER = re.compile(
    r"""(["'](?:[a-z0-9_.\- ]{0,40}(?:passw|secret|token|(?:api|access|private)_?key|credential|dsn)"""
    r"""[a-z0-9_.\- ]{0,40}|sessionid|passphrase|pass|pwd|key|auth)["']"""
    rf"\s*:\s*b?)(?:{_QUOTED})",
    re.IGNORECASE,
)
# What PostgreSQL says of a row that it refuses.
_ROW = re.compile(r"(\bKey \([^()\r\n]{1,200}\)=|\bFailing row contains )\([^\r\n]*\)")
_LITERAL = re.compile(r"'(?:''|[^'])*'?")
# The bytes of a file or of a message, as Python writes them; short ones are words of a protocol.
_BYTES = re.compile(r"\bb(?:'(?:\\.|[^'\\\r\n]){60,}(?:'|$)|\"(?:\\.|[^\"\\\r\n]){60,}(?:\"|$))", re.MULTILINE)
_BASIC = re.compile(r"\b(basic\s+)([a-z0-9+/]{4,}={0,2})", re.IGNORECASE)

_SECRET_NAMES = re.compile(
    r"passw|passphrase|^pass$|^pwd$|secret|token|authorization|^auth$|cookie|sessionid|credential|dsn"
    r"|(?:api|access|private)_?key",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w.\-]*")

SHORTEST = 6  # what is shorter stands in too many other words; the patterns above still know its usual places
_known: set[str] = set()
_known_anywhere: re.Pattern[str] | None = None


def know(values: Iterable[str], parsed: Iterable[str] = ()) -> None:
    """Takes these out from now on wherever they stand: the values of settings that are secret, with those inside.

    ``parsed`` are passwords and keys by themselves, as those have read them who use them.
    """
    global _known_anywhere
    parts = [*parsed, *(part for value in values for part in _secrets_in(value))]
    _known.update(shape for part in parts if len(part) >= SHORTEST for shape in _shapes(part))
    longest_first = sorted(_known, key=len, reverse=True)
    _known_anywhere = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def _secrets_in(value: str) -> Iterator[str]:
    """The parts of a setting that nobody may see: of an address its password, and what stands for one."""
    for word in value.split(","):
        word = word.strip()
        if "://" not in word:
            yield word
            continue
        scheme, _, rest = word.partition("://")
        is_service = _SERVICE.fullmatch(scheme.partition("+")[0].lower())
        if is_service and "@" in rest:  # also with signs in it that would end it, and which those forgive who use it
            yield unquote(rest.rpartition("@")[0].partition(":")[2])
        try:
            parts = urlsplit(word)
        except ValueError:  # no address after all
            yield word
            continue
        login, _, _ = parts.netloc.rpartition("@")
        name, _, password = login.partition(":")
        yield unquote(password)
        yield from (content for key, content in parse_qsl(parts.query) if re.search(_NAMED, key, re.IGNORECASE))
        if parts.scheme == "s3" or not is_service:  # a key, or a token in the place of a name
            yield unquote(name)
        if not is_service:
            yield from filter(_is_no_mere_word, map(unquote, parts.path.split("/")))


# Of these only the password lets one in; of all others, such as webhooks and Apprise's, mostly the path does.
_SERVICE = re.compile(
    r"s3|file|sqlite|postgres(ql)?|psql|pgsql|rediss?|sentinel|unix|(py)?amqps?|smtps?|submission|consolemail|filemail"
)


def _is_no_mere_word(step: str) -> bool:
    """Whether a step of a path may be a secret, and not “upload”, which stands in half of what is said."""
    return len(step) >= 12 or (re.search(r"[^\W\d]", step) is not None and re.search(r"\d", step) is not None)


def _shapes(secret: str) -> set[str]:
    """As it is, as it stands in a URL, and as Python writes it."""
    return {secret, quote(secret, safe=""), quote(secret), repr(secret)[1:-1]}


def scrub(text: str) -> str:
    """The text with ••• for credentials in URLs, in parameters that are named like secrets, and in headers."""
    if _known_anywhere is not None:
        text = _known_anywhere.sub(HIDDEN, text)
    if _WORD.fullmatch(text):  # nothing below knows a word by itself
        return text
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
    if ":" in text:
        text = _MEMBER.sub(rf"\1{HIDDEN}", text)
        text = _NAMED_LINE.sub(rf"\1{HIDDEN}", text)
    if "b'" in text or 'b"' in text:
        text = _BYTES.sub(f"b'{HIDDEN}'", text)
    text = _ROW.sub(rf"\1({HIDDEN})", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    return _BASIC.sub(_basic, text)


def member(name: str, value: Any) -> Any:
    """What stands under a name, scrubbed; where the name says that it is secret, nothing of it."""
    return _member(name, value, 0)


def without_literals(sql: str) -> str:
    """A statement without the texts and bytes in it, and what a library adds of them behind it."""
    return _LITERAL.sub(f"'{HIDDEN}'", sql).partition("; args=")[0]


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

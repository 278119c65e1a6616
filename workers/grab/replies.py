"""What an RTSP server says, read along on its way to FFmpeg (RFC 2326).

The status of each answer is noted, and nothing is passed on that would lead FFmpeg elsewhere. Heads are read as
leniently as FFmpeg reads them (ff_rtsp_read_reply in libavformat/rtsp.c), and written anew: what FFmpeg gets is what
was understood here, in a form that can be understood in one way only.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from detection.sources import forbidden, literal_ip
from workers.grab.login import Challenge, challenges_in, quoted
from workers.grab.types import GrabError

MAX_HEAD = 64 * 1024
MAX_BODY = 1024 * 1024
MIN_PACKET = 8  # FFmpeg takes what is in a shorter one for the next reply
DISCARD_PORT = 9
NOT_RTSP = "What answers there does not speak RTSP. Look at the camera's address and its port."

END = re.compile(rb"\n\r*\n")  # lines end at a \n; FFmpeg does not mind any \r
REPLY = re.compile(r"\s*RTSP/[\d.]+\s+([1-5][0-9]{2})\b(.*)")
REQUEST = re.compile(r"([A-Z_]+) (\S+) RTSP/[\d.]+\s*")  # servers may ask, too
HEADER = re.compile(r"([A-Za-z][A-Za-z-]*):[ \t]*(.*)")
# What FFmpeg needs; others (Location, Server, RealChallenge1, …) make it go elsewhere or speak other dialects.
PASSED = {
    "authentication-info", "content-base", "content-type", "cseq", "notice", "public", "range", "rtp-info", "session",
    "x-notice",
}  # fmt: skip
PROTOCOL = re.compile(r"/?(RTP/S?AVPF?(?:/(?:TCP|UDP))?)", re.IGNORECASE)
# Of a transport; without “source”, “destination” and “multicast”, which name other places.
PARAMETER = re.compile(
    r'(?:client_port|interleaved)=\d{1,5}(?:-\d{1,5})?|ssrc=[0-9a-f]{1,8}|mode="?play"?', re.IGNORECASE | re.ASCII
)


class Replies:
    """``feed`` what the server sends, pass on what it answers. ``status`` is that of the last reply.

    Raises GrabError for a redirect, which FFmpeg would follow to any address, and for what is no RTSP.
    """

    def __init__(self) -> None:
        self.status = 0
        self._waiting = bytearray()
        self._passing = 0  # bytes of a packet or a body that are still to come

    def feed(self, data: bytes) -> bytes:
        self._waiting += data
        out = bytearray()
        while self._waiting:
            if self._passing:
                out += self._take(min(self._passing, len(self._waiting)))
            elif self._waiting[0] == ord("$"):
                if not self._packet_begins():
                    break
            elif self._waiting[0] in b"\r\n":
                self._take(1)  # FFmpeg would take an empty line for an empty reply
            else:
                end = END.search(self._waiting)
                if end is None:
                    self._check_begun()
                    break
                out += self._head(bytes(self._waiting[: end.start()]))
                del self._waiting[: end.end()]
        return bytes(out)

    def _take(self, length: int) -> bytes:
        taken = bytes(self._waiting[:length])
        del self._waiting[:length]
        self._passing = max(0, self._passing - length)
        return taken

    def _packet_begins(self) -> bool:
        """A packet between the replies: $, channel, length. False where that much is not there yet."""
        if len(self._waiting) < 4:
            return False
        length = int.from_bytes(self._waiting[2:4], "big")
        if length >= MIN_PACKET:
            self._passing = 4 + length
            return True
        if len(self._waiting) < 4 + length:
            return False
        self._take(4 + length)
        return True

    def _check_begun(self) -> None:
        """A message that is not whole yet must look like one."""
        line = bytes(self._waiting[:4096]).partition(b"\n")[0]
        if len(self._waiting) > MAX_HEAD or not re.fullmatch(rb"[\x20-\x7e\x80-\xff\t\r]*", line):
            raise GrabError(NOT_RTSP, kind="garbage")

    def _head(self, head: bytes) -> bytes:
        """The head as it is passed on."""
        if b"\0" in head or len(head) > MAX_HEAD:
            raise GrabError(NOT_RTSP, kind="garbage")
        first, *lines = head.decode("latin-1").replace("\r", "").split("\n")
        # A folded line and one without a name say nothing to FFmpeg, either.
        found = [match for match in map(HEADER.fullmatch, lines) if match]
        headers = [(match[1].lower(), match[2]) for match in found]
        passed = [self._first(first, headers)]
        passed += [f"{match[1]}: {match[2]}" for match in found if match[1].lower() in PASSED]
        passed += _logins([value for name, value in headers if name == "www-authenticate"])
        passed += _own_transport(headers)
        self._passing = _length(headers)
        if self._passing:
            passed.append(f"Content-Length: {self._passing}")
        return "\r\n".join([*passed, "", ""]).encode("latin-1")

    def _first(self, line: str, headers: list[tuple[str, str]]) -> str:
        """The first line, of a reply or of a request."""
        asked = REQUEST.fullmatch(line)
        if asked:
            return f"{asked[1]} {asked[2]} RTSP/1.0"
        answered = REPLY.fullmatch(line)
        if not answered:
            raise GrabError(NOT_RTSP, kind="garbage")
        self.status = int(answered[1])
        if 300 <= self.status < 400:
            raise _redirected(dict(headers).get("location", ""))
        return f"RTSP/1.0 {self.status}{answered[2]}"


def _logins(asked: list[str]) -> list[str]:
    """The ways of logging in that FFmpeg knows, each in a line of its own.

    It takes the last Digest there is, of whatever algorithm, and says nothing more where it cannot do that one.
    """
    challenges = challenges_in(asked)
    known = [(scheme, values) for scheme, values in challenges if _is_known(scheme, values)]
    if any(scheme == "digest" for scheme, _ in challenges) and not known:
        raise GrabError(
            "The camera asks for a login by Digest of a kind that is not possible over RTSP here, such as SHA-256. "
            "Allow MD5 or Basic in its settings.",
            kind="unauthorised",
            permanent=True,
        )
    return [f"WWW-Authenticate: {scheme.capitalize()} {_parameters(values)}".rstrip() for scheme, values in known]


def _is_known(scheme: str, values: Challenge) -> bool:
    return scheme == "basic" or (scheme == "digest" and values.get("algorithm", "MD5").lower() in ("md5", "md5-sess"))


def _parameters(values: Challenge) -> str:
    return ", ".join(f"{name}={quoted(text)}" for name, text in values.items())


def _length(headers: list[tuple[str, str]]) -> int:
    """Of the body; the last word counts, as for FFmpeg."""
    said = next((value for name, value in reversed(headers) if name == "content-length"), "0")
    match = re.match(r"[0-9]{1,9}", said)
    length = int(match[0]) if match else 0
    if length > MAX_BODY:
        raise GrabError(NOT_RTSP, kind="garbage")
    return length


def _own_transport(headers: list[tuple[str, str]]) -> list[str]:
    """The transport, as one line or none.

    FFmpeg sends its reports by UDP to the address and port that the server names here: any it likes. They are sent to
    this machine's discard port instead; the pictures come to FFmpeg all the same.
    """
    said = next((value for name, value in reversed(headers) if name == "transport"), "").partition(",")[0]
    protocol, *parameters = (part.strip() for part in said.split(";"))
    known = PROTOCOL.fullmatch(protocol)
    if not known:
        return []
    kept = [each for each in parameters if PARAMETER.fullmatch(each)]
    if any(each.lower().startswith("server_port=") for each in parameters):
        kept.append(f"server_port={DISCARD_PORT}-{DISCARD_PORT}")
    return ["Transport: " + ";".join([known[1], "unicast", *kept])]


def _redirected(there: str) -> GrabError:
    try:
        ip = literal_ip(urlsplit(there.strip()).hostname or "")
    except ValueError:
        ip = None
    reason = forbidden(ip, allow_loopback=False, allow_private=True) if ip else None
    if reason:
        return GrabError(
            f"The camera sends its callers to an address that is not called. {reason}",
            kind="forbidden_address",
            permanent=True,
        )
    return GrabError(
        "The camera sends its callers to another address. Enter that address.", kind="redirects", permanent=True
    )

"""The password over HTTP: said only where the camera asks for it, by Digest where it offers that, else by Basic."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import requests

Challenge: TypeAlias = dict[str, str]

# Of Digest (RFC 7616, 6.1), the best first; what there is besides is not spoken.
ALGORITHMS = {"sha-256": "sha256", "sha-256-sess": "sha256", "md5": "md5", "md5-sess": "md5"}
# A word that names a scheme, or a parameter with its value (RFC 9110, 11.6.1); commas are not missed.
ITEM = re.compile(r'([^\s,="]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^\s,"]*)))?', re.DOTALL)


@dataclass(slots=True)
class Login:
    """A user's name and password, and what was answered with them so far."""

    user: str
    password: str = field(repr=False)
    nonce: str = ""
    done: bool = False

    def answer(self, response: requests.Response) -> str | None:
        """The ``Authorization`` for a 401, or None where there is nothing more to say."""
        if not (self.user or self.password):
            return None
        challenges = challenges_in(response.raw.headers.getlist("WWW-Authenticate"))
        best = _best([values for scheme, values in challenges if scheme == "digest"])
        if best is not None:
            return self._digest(best, response.request.path_url)
        if self.done or not any(scheme == "basic" for scheme, _ in challenges):
            return None
        self.done = True
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _digest(self, challenge: Challenge, target: str) -> str | None:
        if self.done and (challenge.get("stale", "").lower() != "true" or challenge["nonce"] == self.nonce):
            return None  # it has heard us and said no
        self.done, self.nonce = True, challenge["nonce"]
        return digest(challenge, self.user, self.password, target, secrets.token_hex(16))


def challenges_in(headers: list[str]) -> list[tuple[str, Challenge]]:
    """Scheme and parameters of each challenge; a camera may offer several, in one header or in many."""
    found: list[tuple[str, Challenge]] = []
    for header in headers:
        for item in ITEM.finditer(header):
            name, quoted, bare = item[1].lower(), item[2], item[3]
            if quoted is None and bare is None:
                found.append((name, {}))
            elif found:
                found[-1][1][name] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
    return found


def _best(challenges: list[Challenge]) -> Challenge | None:
    """That of the best algorithm, of those that can be answered."""
    known = list(ALGORITHMS)
    able = [each for each in challenges if _algorithm(each) in known and "nonce" in each and "realm" in each]
    able = [each for each in able if not each.get("qop") or "auth" in _words(each["qop"])]
    return min(able, key=lambda each: known.index(_algorithm(each)), default=None)


def _algorithm(challenge: Challenge) -> str:
    return challenge.get("algorithm", "MD5").lower()


def _words(listed: str) -> list[str]:
    return [word.strip().lower() for word in listed.split(",")]


def digest(challenge: Challenge, user: str, password: str, target: str, cnonce: str, method: str = "GET") -> str:
    """The ``Authorization`` by Digest (RFC 7616, 3.4; without a ``qop``, RFC 2069). ``target`` is as it is sent.

    Headers are bytes that are written as if they were Latin-1; user name and password are UTF-8 in them.
    """
    user, password = (text.encode().decode("latin-1") for text in (user, password))
    algorithm, realm, nonce = _algorithm(challenge), challenge["realm"], challenge["nonce"]
    has_qop, is_session = bool(challenge.get("qop")), algorithm.endswith("-sess")

    def hashed(*parts: str) -> str:
        return hashlib.new(ALGORITHMS[algorithm], ":".join(parts).encode("latin-1"), usedforsecurity=False).hexdigest()

    who, what = hashed(user, realm, password), hashed(method, target)
    if is_session:
        who = hashed(who, nonce, cnonce)
    middle = (nonce, "00000001", cnonce, "auth") if has_qop else (nonce,)
    given = {"username": user, "realm": realm, "nonce": nonce, "uri": target, "response": hashed(who, *middle, what)}
    if has_qop or is_session:
        given["cnonce"] = cnonce
    if "opaque" in challenge:
        given["opaque"] = challenge["opaque"]
    said = [f"{name}={quoted(text)}" for name, text in given.items()]
    said += ["qop=auth", "nc=00000001"] if has_qop else []
    said += [f"algorithm={challenge['algorithm']}"] if "algorithm" in challenge else []
    return "Digest " + ", ".join(said)


def quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'

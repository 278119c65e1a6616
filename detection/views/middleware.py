"""What holds for every request and every answer: who is believed, what browsers are told, and what is written down."""

from __future__ import annotations

import codecs
import logging
from collections.abc import Callable
from urllib.parse import unquote_plus

from django.conf import settings
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from detection.address import client_address, comes_from_proxy
from detection.views.errors import answer

log = logging.getLogger("detection.refusals")

Answerer = Callable[[HttpRequest], HttpResponseBase]

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self'",
        "media-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
        "form-action 'self'",
    )
)
# What no page of ours asks a browser for, and nothing that is smuggled into one shall get.
PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "publickey-credentials-get",
        "serial",
        "usb",
        "xr-spatial-tracking",
    )
)

# Everybody can send these, and Django, gunicorn or another library may believe them.
FORWARDED = (
    "HTTP_FORWARDED",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_PROTOCOL",
    "HTTP_X_FORWARDED_SSL",
    "HTTP_X_FORWARDED_SCHEME",
    "HTTP_X_REAL_IP",
)
SCHEME = ("HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_PROTOCOL", "HTTP_X_FORWARDED_SSL")  # read by gunicorn


class TrustedProxies:
    """Only of a trusted proxy something counts: whom it speaks for, and whether they came through TLS.

    What comes after it may believe what is left. Host and port come as `Host`, which a proxy has to
    pass on; many pass on a visitor's own `X-Forwarded-Host` unseen, so that never counts.
    """

    def __init__(self, get_response: Answerer) -> None:
        self.get_response = get_response
        self._said: set[str] = set()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        meta = request.META
        if any(name in meta for name in FORWARDED):
            if comes_from_proxy(request):
                kept = {"HTTP_X_FORWARDED_FOR": client_address(request), "HTTP_X_FORWARDED_PROTO": _scheme(request)}
            else:
                kept = {}
                self._hint(meta.get("REMOTE_ADDR", ""))
            if any(name in meta for name in SCHEME):
                meta["wsgi.url_scheme"] = kept.get("HTTP_X_FORWARDED_PROTO") or "http"  # gunicorn has its own opinion
            for name in FORWARDED:
                meta.pop(name, None)
            meta.update({name: value for name, value in kept.items() if value})
        return self.get_response(request)

    def _hint(self, peer: str) -> None:
        """Once for each: a proxy that is not believed makes all people look like one."""
        if peer not in self._said and len(self._said) < 100:
            self._said.add(peer)
            log.warning(
                "Requests from %s speak for other addresses, and are not believed. If that is a proxy of yours, name "
                "it in TRUSTED_PROXIES: until then limits and lock-outs take all who come through it for one.",
                peer or "a Unix socket (“unix”)",
            )


def _scheme(request: HttpRequest) -> str:
    """What the nearest proxy says; each appends its own."""
    said = request.META.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
    return said if said in ("http", "https") else ""


class Understandable:
    """Refuses what no browser sends and no database takes, before anybody works with it."""

    CHARSETS = ("utf-8", "ascii", "iso8859-1")  # others make NULs and halves of characters out of anything

    def __init__(self, get_response: Answerer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if "\0" in request.path or "\0" in unquote_plus(request.META.get("QUERY_STRING", "")):
            raise BadRequest("a NUL in the address")
        charset = request.content_params.get("charset") if request.content_params else None
        if charset and not self._is_known(charset):
            raise BadRequest("a charset that is not taken")
        for name in [name for name, value in request.COOKIES.items() if "\0" in value]:
            del request.COOKIES[name]
        return self.get_response(request)

    def _is_known(self, charset: str) -> bool:
        try:
            return codecs.lookup(charset).name in self.CHARSETS
        except (LookupError, ValueError):
            return False


class SecurityHeaders:
    """Scripts, styles, pictures and forms come from and go to this site only; nothing inline runs.

    A view may have set a stricter policy of its own, or, for pages that are not ours, a looser one.
    """

    def __init__(self, get_response: Answerer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # Django's own error pages, which only DEBUG shows, are styled inline.
        if not (settings.DEBUG and response.status_code in (400, 404, 500)):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


class Refusals:
    """Why a request was refused or failed stands in its one line; Django writes none of its own beside it."""

    def __init__(self, get_response: Answerer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if response.status_code == 405 and isinstance(response, HttpResponse) and not response.content:
            _explain_405(request, response)
        is_told = getattr(response, "_has_been_logged", False) and not hasattr(response, "refusal")
        if response.status_code >= 400 and not is_told:
            request.line.because(getattr(response, "refusal", "") or response.reason_phrase)  # type: ignore[attr-defined]
            response._has_been_logged = True  # type: ignore[attr-defined]
        return response


def _explain_405(request: HttpRequest, response: HttpResponse) -> None:
    """Django says only which methods would do, and that in a header; all headers stay."""
    allowed = response.headers.get("Allow", "")
    sentence = f"This address takes {allowed} and not {request.method}. Go back, and use the button on the page."
    explained = answer(request, 405, "Not possible in this way", sentence)
    response.content = explained.content
    for name in ("Content-Type", "Cache-Control"):
        response.headers[name] = explained.headers[name]
    response.headers["Content-Length"] = str(len(explained.content))
    response.refusal = sentence  # type: ignore[attr-defined]

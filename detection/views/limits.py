"""How often one person, and one address, may ask for what is dear: a small window that is counted in the cache."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from detection.address import client_site
from detection.metrics import refused
from detection.rates import Rate
from detection.views.errors import answer

ADMINISTRATION = "admin"
ADDRESS_SHARE = 5  # so many people may sit behind one address
STRANGERS_BYTES = 64 * 1024  # of a body; a log-in has some hundred, and nobody else may make us wait for more
SENTENCES = {
    "login": "There were too many tries to log in from your address.",
    "upload": "These are more uploads than one person may send at a time.",
    "verdict": "These are more verdicts than one person may give at a time.",
    "list": "These are more pages than one person may ask for at a time.",
    "trial": "These are more tries of cameras than one person may make at a time.",
}

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def limited(name: str, *methods: str) -> Callable[[View], View]:
    """The view counts against this rate: requests with these methods, or all."""

    def mark(view: View) -> View:
        view.limit = (name, methods)  # type: ignore[attr-defined]
        return view

    return mark


class Limits:
    """Answers 429 where a limited view is asked for too often; before the body of the request is read."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponse | None:
        if _length(request) > STRANGERS_BYTES and not request.user.is_authenticated:
            said = "Log in first: this is more than is taken from somebody who is not logged in."
            return answer(request, 413, "Log in first", said)
        name, methods = getattr(view, "limit", ("", ()))
        if request.resolver_match and ADMINISTRATION in request.resolver_match.app_names:
            name = "list"  # all of it is lists and searches, and what leads to them
        if not name or (methods and request.method not in methods):
            return None
        wait_s = too_many(request, name)
        if not wait_s:
            return None
        refused(f"rate_{name}")
        return too_many_requests(request, SENTENCES[name], wait_s, f"the limit RATE_{name.upper()}")


def _length(request: HttpRequest) -> int:
    said = request.META.get("CONTENT_LENGTH") or ""
    return int(said) if said.isdecimal() else 0


def too_many(request: HttpRequest, name: str) -> int:
    """Counts this request. Answers for how many seconds there were too many; 0 where there were not."""
    rate: Rate = settings.RATES[name]
    if not rate.count:
        return 0
    now = time.time()
    window = int(now // rate.period_s)
    most = {f"address:{client_site(request)}": rate.count}
    if request.user.is_authenticated:
        most = {f"user:{request.user.pk}": rate.count, f"address:{client_site(request)}": rate.count * ADDRESS_SHARE}
    # All are counted, whatever the first says: who is refused as a person is still one more from this address.
    over = [_count(f"rate:{name}:{who}:{window}", rate) > count for who, count in most.items()]
    return math.ceil((window + 1) * rate.period_s - now) or 1 if any(over) else 0


def too_many_requests(request: HttpRequest, sentence: str, wait_s: int, reason: str) -> HttpResponse:
    said = f"{sentence} Wait {in_words(wait_s)}, then try again."
    response = answer(request, 429, "Too many requests", said, reason=reason)
    response["Retry-After"] = str(wait_s)
    return response


def in_words(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} second{'' if seconds == 1 else 's'}"
    return f"{math.ceil(seconds / 60)} minutes"


def _count(key: str, rate: Rate) -> int:
    # Hashed: an address may be any text that the cache does not take for a key.
    return int(cache.count(hashlib.sha256(key.encode()).hexdigest(), 2 * rate.period_s))  # type: ignore[attr-defined]

"""What load balancers and Kubernetes ask: whether this process serves, and whether it is to be given requests."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase

from detection.health import is_stopping
from detection.health.probes import NEEDED, READY
from detection.health.probing import Outcome, look_at

LIVE, READINESS = "/health/live", "/health/ready"
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Probed:
    """Answers both before anything else is asked: sessions, logins, names and TLS.

    Who asks calls a pod by its address, without TLS and without a login, and must get an answer where the database is
    away. The answers hold nothing that strangers may not know, and nothing of what was asked.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        answers: dict[str, Callable[[HttpRequest], HttpResponse]] = {LIVE: live, READINESS: ready}
        answer = answers.get(request.path_info)
        if answer is None:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"], headers=HEADERS)
        return answer(request)


def live(request: HttpRequest) -> HttpResponse:
    """This process serves: nothing else is looked at."""
    return JsonResponse({"status": "ok"}, headers=HEADERS)


def ready(request: HttpRequest) -> HttpResponse:
    """Whether to send requests here: 503 where it stops, or where no page could be answered.

    With the broker or the storage away, or the disk full, pages can be read, and that is said on them; taken out of the
    load balancer, all processes at once would leave nobody to say it. So that is "degraded", and 200. With ``?strict``
    it is 503 as well.
    """
    if is_stopping():
        return JsonResponse({"status": "stopping"}, status=503, headers=HEADERS)
    outcomes = look_at(READY)
    status = _status(outcomes)
    found = {"status": status, "probes": {name: _word(outcome) for name, outcome in outcomes.items()}}
    is_refused = status == "failing" or (status != "ok" and "strict" in request.GET)
    return JsonResponse(found, status=503 if is_refused else 200, headers=HEADERS)


def _status(outcomes: dict[str, Outcome]) -> str:
    failed = {name for name, outcome in outcomes.items() if not outcome.is_ok}
    if failed.intersection(NEEDED):
        return "failing"
    return "degraded" if failed else "ok"


def _word(outcome: Outcome) -> str:
    return "ok" if outcome.is_ok else "failed"

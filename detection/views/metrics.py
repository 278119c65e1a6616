"""What Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import resolve
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from detection.metrics.exposition import CONTENT_TYPE, is_token, of_everything

PATH = "/metrics"
NOT_YOU = (
    "The metrics are for operators, and for whoever sends “Authorization: Bearer …” with the token "
    "that is set as METRICS_TOKEN.\n"
)


class Scraped:
    """Answers Prometheus before anything else is asked: names, TLS, sessions.

    It calls a container by its own name or address and without TLS, past the proxy. Whoever sends a token is a program;
    people have a session, and their requests go on.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        authorization = request.headers.get("Authorization", "")
        if request.path_info != PATH or not authorization.lower().startswith("bearer "):
            return self.get_response(request)
        request.resolver_match = resolve(PATH)  # by which it is counted
        response = scrape(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        return response


@require_safe
@never_cache
def scrape(request: HttpRequest) -> HttpResponse:
    """For the token, and nobody else."""
    return _everything() if is_token(request.headers.get("Authorization", "")) else _not_you()


@login_not_required  # Prometheus has no session; Scraped has asked for the token, and a person needs a permission
@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    return _everything() if request.user.has_perm("detection.view_heartbeat") else _not_you()


def _everything() -> HttpResponse:
    return HttpResponse(of_everything(), content_type=CONTENT_TYPE)


def _not_you() -> HttpResponse:
    return HttpResponse(
        NOT_YOU, status=401, content_type="text/plain; charset=utf-8", headers={"WWW-Authenticate": "Bearer"}
    )

"""Counts and times every request, by the name of its route: never by its path, which anybody may choose."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from detection.metrics.instruments import REQUEST_SECONDS, REQUESTS

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
STATIC = "static"
NO_ROUTE = "no route"


class Measured:
    """Stands before all others, so that what they refuse or answer counts as well."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response
        self._static = f"/{settings.STATIC_URL.lstrip('/')}"

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response = self._get_response(request)
        view = self._view_of(request)
        method = request.method if request.method in METHODS else "other"
        REQUESTS.add(view, method, f"{response.status_code // 100}xx")
        REQUEST_SECONDS.observe(time.perf_counter() - began, view)
        return response

    def _view_of(self, request: HttpRequest) -> str:
        match = request.resolver_match
        if match is not None:
            return match.view_name or match.func.__name__
        return STATIC if request.path_info.startswith(self._static) else NO_ROUTE

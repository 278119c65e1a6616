"""Who may not try to log in for a while: django-axes, with two counts in place of one.

Wrong passwords are counted for each pair of a name and an address, so that nobody can lock another out from elsewhere,
and, much higher, for each address by itself, for whoever tries one password with many names. The counts are rows, not
in the cache: a cache that is away would let everybody try as they like.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Max, QuerySet, Sum
from django.http import HttpRequest, QueryDict
from django.utils.crypto import salted_hmac

from detection.address import client_site


def address_of(request: HttpRequest) -> str | None:
    """For the rows, which take addresses only."""
    return client_site(request) or None


def name_of(request: HttpRequest, credentials: dict[str, Any] | None = None) -> str:
    """The name that was tried; a fingerprint where nobody has it, since people type passwords there by mistake."""
    tried = str((credentials or {}).get("username") or request.POST.get("username") or "")
    if get_user_model().objects.filter(username=tried).exists():
        return tried
    return f"unknown-{salted_hmac('detection.lockout', tried, algorithm='sha256').hexdigest()[:16]}"


class Handler(AxesDatabaseHandler):
    """Counts pairs as axes does, and addresses beside them."""

    def get_failures(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        pair = super().get_failures(request, credentials)
        if not request.axes_ip_address:  # all who come through a socket, and nobody knows from where
            return int(pair)
        address = self._of_address(request).aggregate(all=Sum("failures_since_start"))["all"] or 0
        return max(pair, settings.AXES_FAILURE_LIMIT) if address >= settings.LOGIN_FAILURES_ADDRESS else int(pair)

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        """Keeps nothing of the form and the query: whatever field a password was typed into."""
        if request is None:
            return
        given = request.GET, request.POST
        request.GET = request.POST = QueryDict()
        try:
            super().user_login_failed(sender, credentials, request, **kwargs)
        finally:
            request.GET, request.POST = given

    def wait_s(self, request: Any, credentials: dict[str, Any] | None = None) -> int:
        """Until it may be tried again."""
        rows = [*self.get_user_attempts(request, credentials)]
        if request.axes_ip_address:
            rows.append(self._of_address(request))
        last = max((at for row in rows if (at := row.aggregate(at=Max("attempt_time"))["at"])), default=None)
        if last is None:
            return 1
        left: timedelta = last + settings.AXES_COOLOFF_TIME - request.axes_attempt_time
        return max(1, math.ceil(left.total_seconds()))

    def _of_address(self, request: Any) -> QuerySet[AccessAttempt]:
        since = request.axes_attempt_time - settings.AXES_COOLOFF_TIME
        return AccessAttempt.objects.filter(ip_address=request.axes_ip_address, attempt_time__gte=since)

"""Logging in: one door for the pages and the administration, and what is said where it stays shut."""

from __future__ import annotations

import logging
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from detection.address import client_address
from detection.lockout import name_of
from detection.metrics import refused
from detection.views.limits import limited, too_many_requests

log = logging.getLogger("detection.refusals")

LOCKED = "There were too many wrong passwords from your address. An administrator can unlock it sooner."
NOT_STAFF = "Your account may not use the administration. Ask an administrator, or log out and in with another account."


class Login(LoginView):
    template_name = "detection/login.html"
    redirect_authenticated_user = True

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        if not getattr(self.request, "axes_locked_out", False):  # that is told of by itself
            refused("login_failed")
            log.warning("A log-in failed: %s with a wrong password", _who(self.request), extra=_from(self.request))
        return super().form_invalid(form)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        log.info("%s logged in", form.get_user().get_username(), extra=_from(self.request))
        return super().form_valid(form)


login = limited("login", "POST")(Login.as_view())


@login_not_required  # sends to the login
@never_cache
def admin_login(request: HttpRequest) -> HttpResponse:
    """The administration has no door of its own: who is not logged in logs in as everybody does."""
    wanted = request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    to = wanted if is_ours and wanted.startswith("/") else reverse("admin:index")
    if not request.user.is_authenticated:
        return redirect_to_login(to, settings.LOGIN_URL)
    if not request.user.is_staff:
        raise PermissionDenied(NOT_STAFF)
    return redirect(to)


def locked_out(request: HttpRequest, response: Any = None, credentials: dict[str, Any] | None = None) -> HttpResponse:
    """What axes asks for where it has refused."""
    refused("login_locked")
    wait_s = AxesProxyHandler.get_implementation().wait_s(request, credentials)
    return too_many_requests(request, LOCKED, wait_s, f"locked out: too many wrong passwords, for {_who(request)}")


def _who(request: HttpRequest) -> str:
    return name_of(request)


def _from(request: HttpRequest) -> dict[str, Any]:
    return {"client": client_address(request)}

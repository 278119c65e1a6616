"""The error pages, in the site's look; JSON where the caller asked for it, a bare sentence for a part of a page.

Each says what to do, and gives the reference under which the log has the rest.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.shortcuts import render
from django.utils.html import format_html
from django.views.decorators.csrf import requires_csrf_token

from detection import correlation
from detection.metrics import refused
from detection.views.faults import fault_of, is_mistake
from detection.views.request_line import reason_of

log = logging.getLogger("detection.refusals")

NOT_UNDERSTOOD = "The server could not understand this request. Go back, reload the page and try again."
NOT_THERE = "There is nothing at this address, or it was removed."
FORM = (
    "This form was too old, was cut off on its way, or came from another site. Nothing was changed. Go back, reload "
    "the page and send it again; cookies must be allowed."
)
WITH_PART = "{message} (Reference: {reference})"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    reason = reason_of(exception)
    if isinstance(exception, TooManyFilesSent):
        sentence = f"These are too many files at once: at most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} are taken."
        return answer(request, 413, "Too many files", sentence, reason=reason)
    if isinstance(exception, RequestDataTooBig | TooManyFieldsSent):
        return answer(request, 413, "Too much at once", "The form has more in it than is taken at once.", reason=reason)
    return answer(request, 400, "Not understood", NOT_UNDERSTOOD, reason=reason)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    said = str(exception) or "Your account may not do this."
    return answer(request, 403, "Not allowed", said)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    refused("csrf")
    return answer(request, 403, "Form not accepted", FORM, reason=f"CSRF: {reason}")


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    ours = isinstance(exception, Http404) and exception.args and isinstance(exception.args[0], str)
    return answer(request, 404, "Not found", NOT_THERE, reason=exception.args[0] if ours else "no such address")


def server_error(request: HttpRequest) -> HttpResponse:
    """For all else that was raised: what is away or full is said as that, and the rest is a mistake of ours.

    Needs nothing that may be what is broken: no database, no session, no context.
    """
    error = sys.exc_info()[1]
    if isinstance(error, UnreadablePostError):  # whoever sent it is gone, and nobody reads this
        return answer(request, 400, "Cut off", "The request was cut off on its way.", reason=str(error), is_bare=True)
    fault = fault_of(error)
    reason = "" if error is None else reason_of(error)
    response = answer(request, fault.status, fault.title, fault.sentence, reason=reason, is_bare=True)
    if fault.retry_s:
        response["Retry-After"] = str(fault.retry_s)
    if is_mistake(error):  # Django writes the line, with the traceback
        del response.refusal  # type: ignore[attr-defined]
        response._has_been_logged = False  # type: ignore[attr-defined]
    return response


def answer(
    request: HttpRequest, status: int, title: str, message: str, *, reason: str = "", is_bare: bool = False
) -> HttpResponse:
    """One sentence with its status, as the caller can read it: JSON, a bare line for a script, or a page.

    ``reason`` is for the log. ``is_bare`` leaves out of the page all that would be read from the database.
    """
    reference = correlation.current()
    if wants_json(request):
        response: HttpResponse = JsonResponse({"error": message, "reference": reference}, status=status)
    elif wants_part(request):
        said = WITH_PART.format(message=message, reference=reference) if reference and status >= 500 else message
        response = HttpResponse(said, status=status, content_type="text/plain; charset=utf-8")
    else:
        context = {"title": title, "message": message, "reference": reference, "status": status}
        response = _page(request, context, is_bare)
    response.headers.setdefault("Cache-Control", "no-store")
    # Its one line is written by the middleware Refusals, and not by Django as well.
    response.refusal = reason or message  # type: ignore[attr-defined]
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _page(request: HttpRequest, context: dict[str, Any], is_bare: bool) -> HttpResponse:
    if not is_bare:
        try:
            return render(request, "detection/error.html", context, status=context["status"])
        except DatabaseError as error:  # who is logged in cannot be found out
            log.warning("An error page is shown without what comes from the database: %s", error)
    try:
        return render(None, "detection/error_bare.html", context, status=context["status"])
    except ValueError as error:  # the style sheet's name is not known before `collectstatic`
        log.error("An error page is shown without its style: %s", error)
        page = "<!doctype html><title>{title}</title><h1>{title}</h1><p>{message}</p><p>Reference: {reference}</p>"
        return HttpResponse(format_html(page, **context), status=context["status"])


def wants_part(request: HttpRequest) -> bool:
    """Whether a script asks, for a part of its page (htmx, or our own with the same header)."""
    return request.headers.get("HX-Request") == "true"


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"

"""The error pages, in the site's look; JSON where the caller asked for it."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

WENT_WRONG = "Something went wrong on the server. It was written to the log; try again, or tell an administrator."


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, TooManyFilesSent):
        sentence = f"These are too many files at once: at most {settings.DATA_UPLOAD_MAX_NUMBER_FILES} are taken."
        return answer(request, 413, "Too many files", sentence)
    if isinstance(exception, RequestDataTooBig | TooManyFieldsSent):
        return answer(request, 413, "Too much at once", "The form has more in it than is taken at once.")
    return answer(request, 400, "Not understood", "The server could not understand this request.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 403, "Not allowed", str(exception) or "Your account may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, 404, "Not found", "There is nothing at this address, or it was removed.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Needs nothing that may be what is broken: no database, no session, no context."""
    if wants_json(request):
        return JsonResponse({"error": WENT_WRONG}, status=500)
    return render(None, "500.html", {"message": WENT_WRONG}, status=500)


def answer(request: HttpRequest, status: int, title: str, message: str) -> HttpResponse:
    """One sentence with its status, as the caller can read it: JSON, a bare line for a script, or a page."""
    if wants_json(request):
        return JsonResponse({"error": message}, status=status)
    if wants_part(request):
        return HttpResponse(message, status=status, content_type="text/plain; charset=utf-8")
    return render(request, f"{status}.html", {"title": title, "message": message}, status=status)


def wants_part(request: HttpRequest) -> bool:
    """Whether a script asks, for a part of its page (htmx, or our own with the same header)."""
    return bool(getattr(request, "htmx", False))


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"

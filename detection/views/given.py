"""What a request says, as it may be taken."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


def whole_number(given: str) -> int | None:
    """A number from 0 on that a key or a size can be; None where it is none."""
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def back(request: HttpRequest, otherwise: str) -> str:
    """Where the form came from, if it says so and that is a page of this site."""
    page = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure())
    return page if is_ours and page.startswith("/") else otherwise  # a word by itself would be taken for a view's name

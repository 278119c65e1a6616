"""What browsers ask for by themselves, also where no page of ours told them."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseRedirect
from django.templatetags.static import static
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe


@login_not_required  # the log-in page has one, too
@require_safe
@cache_control(max_age=86400)
def favicon(request: HttpRequest) -> HttpResponseRedirect:
    return HttpResponseRedirect(static("nightjar/favicon.svg"))

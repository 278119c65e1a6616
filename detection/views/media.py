"""Media: their list, the page of one, and the bytes."""

from __future__ import annotations

from pathlib import PurePath

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from detection.forms import MediaFilter
from detection.models import Camera, Media, Proxy
from detection.views.access import require, visible, visible_or_404
from detection.views.errors import answer, wants_part
from detection.views.limits import limited
from detection.views.listing import any_open, entries, labels_in_use, page_of
from detection.views.media_context import page_context
from detection.views.retention_wording import KEPT, fate_words
from detection.views.sending import send
from detection.views.serving import Served, serve

PAGE_SIZE = 24
CONTENT_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "matroska": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
}


@require_safe
@limited("list")
def media_list(request: HttpRequest) -> HttpResponse:
    rows = visible(request, Media)
    form = MediaFilter(request.GET, cameras=visible(request, Camera))
    page = page_of(request, form.narrow(rows.select_related("camera")).order_by("-at", "-pk"), PAGE_SIZE)
    found = entries(request, list(page.object_list))
    context = {
        "form": form,
        "page": page,
        "entries": found,
        "any_open": any_open(found),
        "labels": labels_in_use(request),
    }
    return render(request, "detection/media_list.html", context)


@require_safe
@limited("list")
def media_page(request: HttpRequest, pk: int) -> HttpResponse:
    media = visible_or_404(request, Media, pk, "camera", "uploaded_by")
    return render(request, "detection/media.html", page_context(request, media) | {"fate": fate_words(media)})


@require_safe
def proxy_state(request: HttpRequest, pk: int) -> HttpResponse:
    """What the page says while the copy that browsers can play is being made; reloads the page once it is there."""
    media = visible_or_404(request, Media, pk, "proxy")
    proxy = getattr(media, "proxy", None)
    response = render(request, "detection/_proxy.html", {"media": media, "proxy": proxy})
    if wants_part(request) and proxy is not None and proxy.is_over:
        response["HX-Refresh"] = "true"
    return response


@require_POST
def proxy_retry(request: HttpRequest, pk: int) -> HttpResponse:
    media = visible_or_404(request, Media, pk, "proxy")
    require(request, "detection.run_analysis")
    proxy = getattr(media, "proxy", None)
    if proxy is not None and proxy.retry():
        messages.success(request, send(None, proxy) or "The copy is tried again.")
    else:
        messages.warning(request, "There is nothing to try again: making the copy did not fail.")
    return redirect(media)


@require_POST
def media_keep(request: HttpRequest, pk: int) -> HttpResponse:
    """Retention is never to remove it, or may again. For whoever may judge: both say what is worth having."""
    media = visible_or_404(request, Media, pk, "camera")
    require(request, "detection.add_verdict")
    keep = request.POST.get("keep")
    if keep not in ("0", "1"):
        return answer(request, 400, "Not understood", "Say whether it is to be kept: “keep” is 1 or 0.")
    if not media.set_kept(keep == "1"):
        raise Http404("This media was removed in the meantime.")
    said = KEPT if media.is_kept else f"It is not marked as kept any more. {fate_words(media)}"
    messages.success(request, said.strip())
    return redirect(media)


@require_http_methods(["GET", "POST"])
def media_remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks first: what is removed cannot be brought back."""
    media = visible_or_404(request, Media, pk)
    require(request, "detection.delete_media")
    if request.method == "GET":
        return render(request, "detection/media_remove.html", {"media": media})
    media.remove()
    messages.success(request, f"{media.name} is removed, with its sightings and verdicts.")
    return redirect("media_list")


@require_safe
def media_file(request: HttpRequest, pk: int) -> HttpResponseBase:
    media = visible_or_404(request, Media, pk)
    content_type = CONTENT_TYPES.get(media.format)
    if media.format == "matroska" and media.browser_plays:
        content_type = "video/webm"
    what = Served(
        str(media.file),
        content_type or "application/octet-stream",
        media.sha256,
        media.name,
        is_inline=content_type is not None,
    )
    return serve(request, what)


@require_safe
def media_preview(request: HttpRequest, pk: int) -> HttpResponseBase:
    media = visible_or_404(request, Media, pk)
    if not media.preview:
        raise Http404("This media has no preview.")
    etag = f"preview-{media.sha256}"
    return serve(request, Served(str(media.preview), "image/jpeg", etag, "preview.jpg", max_age_s=3600))


@require_safe
def media_proxy(request: HttpRequest, pk: int) -> HttpResponseBase:
    media = visible_or_404(request, Media, pk)
    proxy = Proxy.objects.filter(media=media, state=Proxy.State.DONE).first()
    if proxy is None:
        raise Http404("There is no copy of this clip for browsers, or not yet.")
    made = proxy.finished_at.timestamp() if proxy.finished_at else 0
    etag = f"proxy-{media.sha256}-{made:.0f}"
    return serve(request, Served(str(proxy.file), "video/mp4", etag, f"{PurePath(media.name).stem}.mp4"))

"""Media, their analyses and what came of them, and the models."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Count, QuerySet
from django.db.models import Model as DjangoModel
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import format_html
from django.utils.safestring import SafeString

from detection.admin.facts import Facts, stored_name, tell
from detection.models import Analysis, Chunk, Media, Model, Proxy, Sighting, Verdict
from workers import tasks


class RunsAnalyses(admin.ModelAdmin):
    """Actions on analyses, for those who may run them."""

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("detection.run_analysis")

    def ask_for(self, request: HttpRequest, media: QuerySet[Media]) -> None:
        """An analysis of each of these with the active model; one that is removed in this moment gets none."""
        user = request.user if isinstance(request.user, User) else None
        asked = done = 0
        for one in media:
            asked += 1
            with suppress(IntegrityError):
                analysis = Analysis.request(one, user=user)
                transaction.on_commit(partial(tasks.send_analysis, analysis))
                done += 1
        what = f"queued for analysis with “{Model.active()}”"
        tell(self, request, done, asked, what, "removed in the meantime")


EDITABLE = ["name", "captured_at", "camera"]
MEDIA_FACTS: list[Any] = ["sha256", "kind", stored_name("file"), "bytes", "format", "codec", "width", "height"]
MEDIA_FACTS += [
    "duration_s",
    "frames",
    "browser_plays",
    "captured_at_source",
    "uploaded_by",
    "is_example",
    "is_kept",
    "created_at",
]


@admin.register(Media)
class MediaAdmin(RunsAnalyses):
    list_display = ["name", "kind", "size", "duration_s", "bytes", "at", "camera", "runs", "is_example", "is_kept"]
    list_filter = ["kind", "format", "is_example", "is_kept", "camera"]
    search_fields = ["name", "sha256"]
    list_select_related = ["camera"]
    date_hierarchy = "at"
    actions = ["analyse_again", "keep", "unkeep", "remove"]
    fields = (*EDITABLE, *MEDIA_FACTS)
    readonly_fields = MEDIA_FACTS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Media]:
        return super().get_queryset(request).annotate(run_count=Count("analyses"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # media come in through the upload page, where they are probed

    def has_delete_permission(self, request: HttpRequest, obj: DjangoModel | None = None) -> bool:
        return False  # the stock deletion would leave the files behind; "remove" takes them along

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("detection.delete_media")

    def save_model(self, request: HttpRequest, obj: Media, form: object, change: bool) -> None:
        changed = set(getattr(form, "changed_data", []))
        if "captured_at" in changed:
            obj.set_captured_at(obj.captured_at)
        # Nothing else: the whole row would take back what somebody did meanwhile, even bring back one that is removed.
        obj.save(update_fields=changed & {"name", "camera"})

    @admin.display(description="size", ordering="width")
    def size(self, media: Media) -> str:
        return f"{media.width} x {media.height}"

    @admin.display(description="analyses", ordering="run_count")
    def runs(self, media: Media) -> int:
        return media.run_count  # type: ignore[attr-defined]

    @admin.action(description="Analyse again with the active model", permissions=["run"])
    def analyse_again(self, request: HttpRequest, rows: QuerySet[Media]) -> None:
        self.ask_for(request, rows)

    def has_keep_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("detection.add_verdict")

    @admin.action(description="Keep: retention never removes them", permissions=["keep"])
    def keep(self, request: HttpRequest, rows: QuerySet[Media]) -> None:
        chosen = list(rows)
        done = sum(media.set_kept(True) for media in chosen if not media.is_kept)
        tell(self, request, done, len(chosen), "kept from now on", "kept before")

    @admin.action(description="Do not keep: retention may remove them", permissions=["keep"])
    def unkeep(self, request: HttpRequest, rows: QuerySet[Media]) -> None:
        chosen = list(rows)
        done = sum(media.set_kept(False) for media in chosen if media.is_kept)
        tell(self, request, done, len(chosen), "not kept any more", "not marked as kept")

    @admin.action(description="Remove with everything made from it", permissions=["remove"])
    def remove(self, request: HttpRequest, rows: QuerySet[Media]) -> HttpResponse | None:
        """Asks first: what is removed cannot be brought back."""
        if "sure" not in request.POST:
            context = {**self.admin_site.each_context(request), "media": rows, "title": "Remove media"}
            return render(request, "admin/remove_media.html", context)
        count = len(rows)
        for media in rows:
            media.remove()
        self.message_user(request, f"{count} removed.")
        return None


CHUNK_FACTS = ["number", "start_s", "end_s", "state", "attempts", "worker", "frames_read", "frames_inferred", "error"]


class ChunkInline(admin.TabularInline):
    model = Chunk
    fields = tuple(CHUNK_FACTS)
    readonly_fields = CHUNK_FACTS
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: DjangoModel | None = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: DjangoModel | None = None) -> bool:
        return request.user.has_perm("detection.view_analysis")


@admin.register(Analysis)
class AnalysisAdmin(Facts, RunsAnalyses):
    list_display = ["pk", "media", "model", "state", "share", "attempts", "is_current", "requested_at", "took", "error"]
    list_filter = ["state", "error_kind", "model", "is_current", "requested_at"]
    search_fields = ["media__name", "media__sha256", "error", "=correlation_id"]
    list_select_related = ["media", "model"]
    date_hierarchy = "requested_at"
    actions = ["again", "cancel", "retry"]
    inlines = [ChunkInline]

    @admin.display(description="progress")
    def share(self, analysis: Analysis) -> str:
        return f"{analysis.progress():.0%}"

    @admin.display(description="seconds")
    def took(self, analysis: Analysis) -> str:
        return "" if analysis.wall_s is None else f"{analysis.wall_s:.1f}"

    @admin.action(description="Analyse the media again with the active model", permissions=["run"])
    def again(self, request: HttpRequest, rows: QuerySet[Analysis]) -> None:
        self.ask_for(request, Media.objects.filter(pk__in=rows.values("media")))

    @admin.action(description="Cancel", permissions=["run"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Analysis]) -> None:
        asked = rows.count()  # the verbs change what some of the admin's filters look at
        tell(self, request, Analysis.cancel_many(rows), asked, "cancelled", "over already")

    @admin.action(description="Retry", permissions=["run"])
    def retry(self, request: HttpRequest, rows: QuerySet[Analysis]) -> None:
        asked = rows.count()
        opened = Analysis.retry_many(rows, tasks.send_analysis)
        tell(self, request, opened, asked, "opened again", "neither failed nor cancelled")


@admin.register(Chunk)
class ChunkAdmin(Facts):
    list_display = ["analysis", "number", "start_s", "end_s", "state", "attempts", "worker", "lease_until", "error"]
    list_filter = ["state", "error_kind"]
    search_fields = ["analysis__media__name", "worker"]
    list_select_related = ["analysis__media"]
    exclude = ["detections"]


@admin.register(Proxy)
class ProxyAdmin(Facts):
    list_display = ["media", "state", "attempts", "worker", "file", "error"]
    list_filter = ["state"]
    search_fields = ["media__name"]
    list_select_related = ["media"]


@admin.register(Sighting)
class SightingAdmin(Facts):
    list_display = ["picture", "shown_label", "label", "score", "at", "start_s", "end_s", "media", "said"]
    list_filter = ["verdict__kind", "shown_label", "analysis__is_current", "analysis__model"]
    search_fields = ["label", "shown_label", "media__name"]
    list_select_related = ["media", "verdict"]
    date_hierarchy = "at"
    exclude = ["path"]

    @admin.display(description="")
    def picture(self, sighting: Sighting) -> SafeString | str:
        if not sighting.thumbnail:
            return ""
        return format_html('<img src="{}" alt="" height="40">', sighting.thumbnail_url())

    @admin.display(description="verdict", ordering="verdict__kind")
    def said(self, sighting: Sighting) -> str:
        return sighting.review


@admin.register(Verdict)
class VerdictAdmin(Facts):
    list_display = ["created_at", "user", "kind", "label", "media", "start_s", "keeps_media", "carried_from"]
    list_filter = ["kind", "keeps_media", "label", "user"]
    search_fields = ["label", "media__name", "user__username"]
    list_select_related = ["user", "media", "carried_from"]
    date_hierarchy = "created_at"


@admin.register(Model)
class ModelAdmin(Facts):
    list_display = ["name", "runtime", "is_active", "label_count", "ms_per_image", "licence", "sha256", "created_at"]
    list_filter = ["runtime", "is_active"]
    search_fields = ["name", "sha256"]
    actions = ["activate"]

    def has_activate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("detection.change_model")

    @admin.display(description="labels")
    def label_count(self, model: Model) -> int:
        return len(model.labels)

    @admin.action(description="Make it the active model", permissions=["activate"])
    def activate(self, request: HttpRequest, rows: QuerySet[Model]) -> None:
        model = rows.first()
        if len(rows) != 1 or model is None:
            self.message_user(request, "Choose one model: exactly one is active.", messages.ERROR)
            return
        model.activate()
        self.message_user(request, f"“{model}” is active: new analyses use it.")

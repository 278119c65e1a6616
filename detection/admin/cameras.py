"""Cameras, their captures, and what people are told of them."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from detection.admin.facts import Facts, tell
from detection.fields import WrongKey
from detection.forms import CameraForm
from detection.forms.panel import Panel
from detection.models import Camera, CameraEvent, Capture, Media, Notification
from workers import tasks

SCHEDULE_WORDS = "Only what belongs to the chosen kind of schedule counts."
ADDRESS_WORDS = (
    "It is stored encrypted and never shown again. On a change: leave address, user name and password empty to keep "
    "what is stored. A new address replaces all three, so that a password is never sent to another host."
)
WAITS = (
    "The queue cannot be reached just now. The captures are sent as soon as it is back, and are missed where that "
    "takes longer than a minute."
)
CAMERA_FACTS = ["place", "state", "state_since", "why", "failures", "failing_since", "last_good_at", "next_at"]
CAMERA_FACTS += ["breaker_s", "created_at"]


@admin.register(Camera)
class CameraAdmin(admin.ModelAdmin):
    """With the form of the site's own page, so that an address is neither shown here nor written to the history."""

    form = CameraForm
    list_display = [
        "name", "source", "place", "state", "state_since", "last_good_at", "next_at", "failures", "why",
    ]  # fmt: skip
    list_filter = ["state", "source", "schedule"]
    search_fields = ["name"]
    actions = ["pause", "resume", "capture_now"]
    readonly_fields = CAMERA_FACTS

    def get_fieldsets(self, request: HttpRequest, obj: Camera | None = None) -> Any:
        may_type = self.has_change_permission(request, obj) if obj else True
        login = ("address", "username", "password") if may_type else ()
        every = ("schedule", "every_s", "cron", ("sunrise_offset_min", "sunset_offset_min"), ("latitude", "longitude"))
        hours = ("time_zone", "days", ("active_from", "active_until"), "jitter_s")
        sets: list[Any] = [
            (None, {"fields": ("name", "source")}),
            ("Address", {"fields": (*login, "rtsp_transport", "verify_tls"), "description": ADDRESS_WORDS}),
            ("Schedule", {"fields": (*every, *hours), "description": SCHEDULE_WORDS}),
            ("Pictures", {"fields": ("is_analysed", "frozen_after", "retain_days", "retain_bytes")}),
        ]
        return [*sets, ("How it is doing", {"fields": CAMERA_FACTS})] if obj else sets

    def get_form(self, request: HttpRequest, obj: Camera | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The form knows who fills it in: a trial's address is taken over from one's own trials only.

        Its own fields, which are no columns to be typed into, are there without being named.
        """
        kwargs["fields"] = CameraForm.Meta.fields
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"user": request.user})

    @method_decorator(sensitive_post_parameters("address", "username", "password"))
    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(*args, **kwargs)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context["panel"] = Panel(context["adminform"].form.tried)
        context["may_try"] = not context.get("original") or self.has_change_permission(request, context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Camera, form: CameraForm, change: bool) -> None:
        form.save()

    def _asked(self, request: HttpRequest, camera: Camera) -> Capture | None:
        try:
            return Capture.ask_once(camera, cast(User, request.user)) if camera.address else None
        except Camera.DoesNotExist:
            return None

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Without Django's transaction around it, in which nothing could be planned until millions of rows are gone."""
        return self._delete_view(request, object_id, extra_context)  # type: ignore[attr-defined]  # what it wraps

    def delete_model(self, request: HttpRequest, obj: Camera) -> None:
        obj.remove()

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Camera]) -> None:
        for camera in queryset:
            camera.remove()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """How much goes along, as a number: a camera has tens of thousands of captures, which nobody deletes singly."""
        cameras = list(objs)
        captures = Capture.objects.filter(camera__in=cameras).count()
        events = CameraEvent.objects.filter(camera__in=cameras).count()
        counts = {"cameras": len(cameras), "captures": captures, "events": events}
        stay = Media.objects.filter(camera__in=cameras).count()
        told = [f"Camera: {camera}" for camera in cameras]
        told.append(f"{stay} media stay, with their sightings and verdicts; they no longer name a camera.")
        return told, counts, set(), []

    @admin.display(description="address")
    def place(self, camera: Camera) -> str:
        try:
            return camera.place
        except WrongKey as error:
            return str(error)

    @admin.action(description="Pause", permissions=["change"])
    def pause(self, request: HttpRequest, rows: QuerySet[Camera]) -> None:
        done = sum(camera.pause() for camera in rows)
        tell(self, request, done, len(rows), "paused", "paused already")

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, rows: QuerySet[Camera]) -> None:
        done = sum(camera.resume() for camera in rows)
        tell(self, request, done, len(rows), "resumed", "not paused")

    @admin.action(description="Capture now", permissions=["change"])
    def capture_now(self, request: HttpRequest, rows: QuerySet[Camera]) -> None:
        captures = [capture for camera in rows if (capture := self._asked(request, camera))]
        # One look is enough: a queue that is away makes each further one wait for its time-out.
        if not all(tasks.send_capture(capture) for capture in captures):
            self.message_user(request, WAITS, messages.WARNING)
        else:
            why = "no address, or a picture is on its way already"
            tell(self, request, len(captures), len(rows), "to be captured now: see the captures", why)


@admin.register(Capture)
class CaptureAdmin(Facts):
    list_display = [
        "planned_at", "camera", "state", "kind", "times", "late", "attempts", "is_manual", "why", "media",
    ]  # fmt: skip
    list_filter = ["state", "kind", "is_manual"]
    search_fields = ["camera__name", "why"]
    list_select_related = ["camera", "media"]
    ordering = ["-pk"]  # nearly that of time, and quick where there are millions
    show_full_result_count = False

    @admin.display(description="late, s")
    def late(self, capture: Capture) -> str:
        return "" if capture.late_s is None else f"{capture.late_s:.1f}"


@admin.register(CameraEvent)
class CameraEventAdmin(Facts):
    list_display = ["at", "camera", "kind", "why"]
    list_filter = ["kind", "camera"]
    search_fields = ["camera__name", "why"]
    list_select_related = ["camera"]
    date_hierarchy = "at"


@admin.register(Notification)
class NotificationAdmin(Facts):
    list_display = ["event", "channel", "state", "due_at", "attempts", "finished_at", "error"]
    list_filter = ["state", "channel", "event__kind"]
    search_fields = ["event__camera__name", "error"]
    list_select_related = ["event__camera"]
    date_hierarchy = "due_at"

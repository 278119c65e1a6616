"""What the rows say of the cameras and the notifications."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product

from django.core.cache import cache
from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Max, QuerySet, Sum
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detection.models import Camera, CameraEvent, Capture, Notification

CAMERAS_MAX = 1000  # with series of their own; the sums count all
LATENESS_OVER = timedelta(minutes=10)
DAY_KEPT_S = 60  # a day's captures may be a million rows


class Cameras(Collector):
    """All metrics at one moment. Nothing is counted in this process, so any number of them says the same."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def collect(self) -> Iterator[Metric]:
        """Seven queries, however many cameras there are."""
        yield self._states()
        yield from self._each_camera()
        yield self._day()
        yield from self._under_way()  # two queries
        yield self._events()
        yield self._notifications()

    def _states(self) -> Metric:
        family = GaugeMetricFamily("nightjar_cameras", "Cameras by state.", labels=["state"])
        counted = dict(Camera.objects.order_by().values_list("state").annotate(Count("pk")))
        for state in Camera.State.values:
            family.add_metric([state], counted.get(state, 0))
        return family

    def _each_camera(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("nightjar_camera_up", "1 where the camera is ok, else 0.", labels=["camera"])
        age = GaugeMetricFamily(
            "nightjar_camera_last_picture_age_seconds", "Seconds since its last picture.", labels=["camera"]
        )
        failures = GaugeMetricFamily("nightjar_camera_failures", "Failed captures in a row.", labels=["camera"])
        cameras = Camera.objects.exclude(state=Camera.State.DISABLED).order_by("pk")
        for camera in cameras.only("name", "state", "failures", "last_good_at")[:CAMERAS_MAX]:
            up.add_metric([camera.name], camera.state == Camera.State.OK)
            failures.add_metric([camera.name], camera.failures)
            if camera.last_good_at is not None:
                age.add_metric([camera.name], (self._moment - camera.last_good_at).total_seconds())
        yield from (up, age, failures)

    def _day(self) -> Metric:
        family = GaugeMetricFamily(
            "nightjar_captures_24h", "Planned times of the last 24 hours by what became of them.", labels=["state"]
        )
        counted: dict[str, int] = cache.get_or_set("metrics-captures-24h", self._count_day, DAY_KEPT_S) or {}
        for state in Capture.State.values:
            family.add_metric([state], counted.get(state, 0))
        return family

    def _count_day(self) -> dict[str, int]:
        rows = self._captures_since(timedelta(days=1)).filter(is_manual=False)
        return dict(rows.values_list("state").annotate(Sum("times")))

    def _captures_since(self, ago: timedelta) -> QuerySet[Capture]:
        """Camera by camera, for which there is an index; else the database reads the captures of all time."""
        cameras = Camera.objects.order_by().values("pk")
        return Capture.objects.filter(camera__in=cameras, planned_at__gt=self._moment - ago).order_by()

    def _under_way(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "nightjar_captures_open",
            "Captures that are planned and not yet ended.",
            value=Capture.objects.filter(state=Capture.State.PLANNED).count(),
        )
        late = ExpressionWrapper(F("finished_at") - F("planned_at"), output_field=DurationField())
        recent = self._captures_since(LATENESS_OVER).filter(state=Capture.State.GRABBED, is_manual=False)
        found = recent.aggregate(mean=Avg(late), max=Max(late))
        family = GaugeMetricFamily(
            "nightjar_capture_lateness_seconds",
            "From the planned time to the stored picture, over the captures of the last ten minutes.",
            labels=["of"],
        )
        for of, lateness in found.items():
            if lateness is not None:
                family.add_metric([of], lateness.total_seconds())
        yield family

    def _events(self) -> Metric:
        family = CounterMetricFamily("nightjar_camera_events", "What happened to cameras.", labels=["kind"])
        counted = dict(CameraEvent.objects.order_by().values_list("kind").annotate(Count("pk")))
        for kind in CameraEvent.Kind.values:
            family.add_metric([kind], counted.get(kind, 0))
        return family

    def _notifications(self) -> Metric:
        family = GaugeMetricFamily("nightjar_notifications", "Notifications by state.", labels=["state", "channel"])
        rows = Notification.objects.order_by().values_list("state", "channel").annotate(count=Count("pk"))
        counted = {(state, channel): count for state, channel, count in rows}
        for of in product(Notification.State.values, Notification.Channel.values):  # or the first would be no rise
            family.add_metric(of, counted.get(of, 0))
        return family

"""Who is told of what, and what is held back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from detection.models import Camera, CameraEvent, Notification
from detection.models import event as events
from tests.cast import NOON

pytestmark = pytest.mark.django_db

HOLD_OFF_S = 600


class Clock:
    """The models' clock, which stands still until it is moved on."""

    def __init__(self) -> None:
        self.moment = NOON

    def __call__(self):
        return self.moment


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(events, "now", clock)
    return clock


@pytest.fixture(autouse=True)
def _webhook(settings):
    settings.NOTIFY_HOLD_OFF_S = HOLD_OFF_S
    settings.NOTIFY_EMAILS = []
    settings.NOTIFY_WEBHOOK_URL = "http://hooks.example.org/"
    settings.NOTIFY_APPRISE_URLS = []


@pytest.fixture
def happens(clock):
    """Events of one camera at seconds from noon; what is due by then has been told before."""
    camera = Camera.objects.create(name="Gate")

    def at(second: int, kind: str) -> None:
        clock.moment = NOON + timedelta(seconds=second)
        tell_what_is_due(clock)
        CameraEvent.tell(camera, CameraEvent.Kind(kind), "It did not answer.")
        tell_what_is_due(clock)

    return at


def tell_what_is_due(clock: Clock) -> None:
    rows = Notification.objects.filter(state="queued", attempts=0, due_at__lte=clock.moment)
    rows.update(state="done", attempts=1, finished_at=clock.moment)


def told(clock: Clock | None = None, later_s: int = 0) -> list[tuple[str, int]]:
    """What people were told, and at which second; also what they will have been told some seconds later."""
    if clock is not None:
        clock.moment += timedelta(seconds=later_s)
        tell_what_is_due(clock)
    rows = Notification.objects.filter(state="done").order_by("due_at", "pk").select_related("event")
    return [(row.event.kind, round((row.due_at - NOON).total_seconds())) for row in rows]


def test_a_camera_that_goes_away_is_told_of_at_once_and_so_is_its_return(happens):
    happens(0, "offline")
    assert told() == [("offline", 0)]
    happens(300, "back")
    assert told() == [("offline", 0), ("back", 300)]


def test_a_camera_that_comes_and_goes_is_told_of_once(happens, clock):
    happens(0, "offline")
    happens(60, "back")
    for second in range(120, 540, 120):
        happens(second, "offline")
        happens(second + 60, "back")
    assert told(clock, later_s=3600) == [("offline", 0), ("back", 60)]
    assert CameraEvent.objects.count() == 10  # its page tells all of them


def test_a_camera_that_stays_away_is_told_of_in_the_end(happens, clock):
    happens(0, "offline")
    happens(60, "back")
    happens(120, "offline")
    assert told(clock, later_s=479) == [("offline", 0), ("back", 60)]
    assert told(clock, later_s=1) == [("offline", 0), ("back", 60), ("offline", HOLD_OFF_S)]


def test_its_return_is_told_where_the_held_alarm_was(happens):
    happens(0, "offline")
    happens(60, "back")
    happens(120, "offline")
    happens(700, "back")
    assert told() == [("offline", 0), ("back", 60), ("offline", HOLD_OFF_S), ("back", 700)]


def test_its_return_is_told_also_where_a_second_alarm_was_held_back(happens, clock):
    happens(0, "offline")
    happens(100, "frozen")
    happens(200, "back")
    assert told(clock, later_s=3600) == [("offline", 0), ("back", 200)]


def test_an_alarm_of_long_ago_holds_nothing_back(happens):
    happens(0, "offline")
    happens(60, "back")
    happens(700, "offline")
    assert told()[-1] == ("offline", 700)


def test_what_was_held_back_does_not_hold_back_further(happens, clock):
    happens(0, "offline")
    happens(60, "back")
    happens(500, "offline")
    happens(550, "back")
    happens(560, "offline")
    assert told(clock, later_s=40)[-1] == ("offline", HOLD_OFF_S)


def test_an_alarm_that_waits_gives_way_to_a_newer_one(happens, clock):
    happens(0, "frozen")
    happens(60, "back")
    happens(100, "frozen")
    happens(200, "offline")
    assert told(clock, later_s=3600) == [("frozen", 0), ("back", 60), ("offline", HOLD_OFF_S)]


def test_a_channel_that_was_set_up_during_an_alarm_is_not_told_of_its_end(happens, settings):
    happens(0, "offline")
    settings.NOTIFY_EMAILS = ["guard@example.org"]
    happens(60, "back")
    assert set(Notification.objects.values_list("event__kind", "channel")) == {
        ("offline", "webhook"),
        ("back", "webhook"),
    }


def test_an_alarm_that_is_being_retried_may_have_been_told_and_so_the_return_is(happens):
    happens(0, "offline")
    happens(60, "back")
    happens(120, "offline")
    Notification.objects.filter(state="queued").update(attempts=1)  # due by 600, when the webhook did not answer
    happens(610, "back")
    assert told()[-1] == ("back", 610)
    assert Notification.objects.filter(state="queued").count() == 1


def test_one_camera_holds_back_no_other(happens, clock):
    happens(0, "offline")
    CameraEvent.tell(Camera.objects.create(name="Yard"), CameraEvent.Kind.OFFLINE, "It did not answer.")
    tell_what_is_due(clock)
    assert told() == [("offline", 0), ("offline", 0)]


def test_every_channel_is_told(happens, settings):
    settings.NOTIFY_EMAILS = ["guard@example.org"]
    settings.NOTIFY_APPRISE_URLS = ["json://127.0.0.1"]
    happens(0, "offline")
    assert set(Notification.objects.values_list("channel", flat=True)) == {"email", "webhook", "apprise"}


def test_where_nothing_is_set_up_there_is_an_event_and_no_notification(happens, settings):
    settings.NOTIFY_WEBHOOK_URL = ""
    happens(0, "offline")
    assert CameraEvent.objects.count() == 1
    assert not Notification.objects.exists()


def test_an_event_reads_as_a_sentence(happens):
    happens(0, "offline")
    assert str(CameraEvent.objects.get()) == "Gate went offline"
    assert str(Notification.objects.get()) == "webhook: Gate went offline"

"""What a worker does with a capture: one claim, one picture, one outcome."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError
from django.utils import timezone

from detection.models import Analysis, Camera, Capture, Media, Model
from tests.workers.conftest import TIMEOUT, UNAUTHORISED, planned
from workers import capture as step
from workers import tasks
from workers.again import TryAgain
from workers.grab import GrabError, Policy

pytestmark = pytest.mark.django_db


def test_a_picture_is_stored_with_its_time_and_its_analysis_and_the_camera_is_ok(wire, gate):
    capture = planned(gate)
    analysis = step.grab_one(capture.pk)
    capture.refresh_from_db()
    gate.refresh_from_db()
    media = Media.objects.get()
    assert (capture.state, capture.attempts, capture.media, capture.kind) == ("grabbed", 1, media, "")
    assert media.file.read() == b"a picture"
    assert media.preview.read() == b"small"
    assert (media.camera, media.captured_at_source) == (gate, "capture")
    assert timezone.now() - media.captured_at < timedelta(seconds=5)
    assert analysis == Analysis.objects.get(media=media)
    assert (gate.state, gate.last_media) == ("ok", media)
    assert wire.asked[0].address == "http://admin:pl4nted@10.0.0.5/snap.jpg"


def test_a_camera_with_a_slash_in_its_name_keeps_it_in_that_of_its_pictures(wire, gate):
    Camera.objects.update(name="Barn/North gate")
    step.grab_one(planned(gate).pk)
    assert Media.objects.get().name.startswith("Barn-North gate 20")
    assert " UTC." in Media.objects.get().name


def test_a_message_that_comes_twice_grabs_once(wire, gate):
    capture = planned(gate)
    step.grab_one(capture.pk)
    assert step.grab_one(capture.pk) is None
    assert len(wire.asked) == 1


def test_a_second_worker_finds_nothing_to_claim_while_the_first_is_at_it(wire, gate):
    capture = planned(gate)
    assert Capture.claim(capture.pk, "the first")
    assert step.grab_one(capture.pk) is None
    assert wire.asked == []


def test_a_camera_that_is_not_to_be_analysed_gets_its_picture_stored_only(wire, gate):
    Camera.objects.update(is_analysed=False)
    assert step.grab_one(planned(gate).pk) is None
    assert Media.objects.count() == 1
    assert not Analysis.objects.exists()


def test_where_motion_is_all_there_is_pictures_are_kept_and_not_looked_at(wire, gate):
    Model.objects.get(name="motion").activate()
    assert step.grab_one(planned(gate).pk) is None
    assert Media.objects.count() == 1
    assert not Analysis.objects.exists()


def test_the_very_same_picture_leads_to_the_same_media_and_is_not_analysed_again(wire, gate):
    first, second = planned(gate), planned(gate, planned_at=timezone.now() - timedelta(seconds=1))
    assert step.grab_one(first.pk)
    assert step.grab_one(second.pk) is None
    second.refresh_from_db()
    assert (second.state, second.media) == ("grabbed", Media.objects.get())


def test_what_may_pass_is_tried_again_with_a_growing_pause_and_each_attempt_is_on_the_row(wire, gate):
    capture = planned(gate)
    wire.answers = [TIMEOUT, TIMEOUT]
    pauses = []
    for _ in range(2):
        with pytest.raises(TryAgain) as again:
            step.grab_one(capture.pk)
        pauses.append(again.value.delay_s)
    assert 0.5 <= pauses[0] <= 1 < pauses[1] <= 2
    capture.refresh_from_db()
    assert (capture.state, capture.attempts, [entry["kind"] for entry in capture.tried]) == (
        "planned", 2, ["timeout", "timeout"],
    )  # fmt: skip
    step.grab_one(capture.pk)
    capture.refresh_from_db()
    gate.refresh_from_db()
    assert (capture.state, capture.attempts, capture.why) == ("grabbed", 3, "")
    assert len(capture.tried) == 2
    assert gate.state == "ok"


def test_cameras_that_fail_in_the_same_moment_do_not_come_back_as_one(wire, gate):
    """Those behind one switch would fail together again."""
    wire.answers = [TIMEOUT, TIMEOUT]
    pauses = set()
    for capture in (planned(gate), planned(gate, planned_at=timezone.now() - timedelta(seconds=1))):
        with pytest.raises(TryAgain) as again:
            step.grab_one(capture.pk)
        pauses.add(again.value.delay_s)
    assert len(pauses) == 2


def test_after_its_last_attempt_it_has_failed_with_the_reason(wire, gate):
    capture = planned(gate)
    wire.answers = [TIMEOUT] * 3
    for _ in range(2):
        with pytest.raises(TryAgain):
            step.grab_one(capture.pk)
    assert step.grab_one(capture.pk) is None
    capture.refresh_from_db()
    gate.refresh_from_db()
    assert (capture.state, capture.kind, capture.why) == ("failed", "timeout", "It did not answer in time.")
    assert (gate.state, gate.why) == ("failing", "It did not answer in time.")


@pytest.mark.parametrize("kind", ["unauthorised", "not_found", "forbidden_address"])
def test_what_will_not_pass_is_not_tried_again(kind, wire, gate):
    capture = planned(gate)
    wire.answers = [GrabError("It will not pass.", kind=kind, permanent=True)]
    assert step.grab_one(capture.pk) is None
    capture.refresh_from_db()
    assert (capture.state, capture.attempts, capture.kind) == ("failed", 1, kind)


@pytest.mark.parametrize("kind", ["refused", "server_error", "unknown_host", "damaged"])
def test_what_may_pass_fails_after_its_attempts_and_counts_against_the_camera(kind, wire, gate):
    capture = planned(gate)
    wire.answers = [GrabError("It may pass\0.", kind=kind)] * 3
    for _ in range(2):
        with pytest.raises(TryAgain):
            step.grab_one(capture.pk)
    assert step.grab_one(capture.pk) is None
    capture.refresh_from_db()
    gate.refresh_from_db()
    assert (capture.state, capture.attempts, capture.why) == ("failed", 3, "It may pass.")
    assert (gate.state, gate.failures) == ("failing", 1)


def test_a_camera_with_an_open_circuit_comes_back_by_itself(wire, gate, monkeypatch):
    monkeypatch.setattr("workers.tasks.due_work", list)
    monkeypatch.setattr(tasks.grab, "apply_async", lambda args, **_: tasks.grab.run(*args))
    monkeypatch.setattr(tasks, "send_analysis", lambda _: True)
    then = timezone.now() - timedelta(seconds=300)
    Camera.objects.update(
        state="offline", failures=20, failing_since=then - timedelta(hours=1), breaker_s=240, alarm="offline",
        accounted_until=then, next_at=timezone.now() + timedelta(seconds=1),
    )  # fmt: skip
    tasks.sweep()
    assert wire.asked == []
    Camera.objects.update(next_at=gate.rule.between(then, timezone.now())[-1])
    tasks.sweep()
    gate.refresh_from_db()
    assert len(wire.asked) == 1
    assert (gate.state, gate.failures, gate.breaker_s) == ("ok", 0, 0)
    assert gate.next_at - timezone.now() <= timedelta(seconds=60)
    assert list(gate.events.values_list("kind", flat=True)) == ["back"]


def test_a_camera_in_trouble_is_not_tried_twice_for_one_planned_time(wire, gate):
    Camera.objects.update(failures=1, state="failing")
    wire.answers = [TIMEOUT]
    assert step.grab_one(planned(gate).pk) is None
    assert Capture.objects.get().state == "failed"


def test_where_the_next_one_is_due_soon_it_is_not_tried_again(wire, gate):
    wire.answers = [TIMEOUT]
    assert step.grab_one(planned(gate, until=timezone.now() + timedelta(seconds=1.2)).pk) is None
    assert Capture.objects.get().state == "failed"


class BucketError(Exception):
    """As botocore's: none of OSError's kind."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(5, "Input/output error"), "storage"),
        (OSError(28, "No space left"), "disk_full"),
        (BucketError("no such bucket"), "storage"),
    ],
)
def test_a_storage_that_fails_is_no_fault_of_the_camera(error, kind, wire, gate, monkeypatch):
    monkeypatch.setattr(step, "take_in_capture", lambda *_: (_ for _ in ()).throw(error))
    capture = planned(gate)
    for _ in range(2):
        with pytest.raises(TryAgain):
            step.grab_one(capture.pk)
    step.grab_one(capture.pk)
    capture.refresh_from_db()
    gate.refresh_from_db()
    assert (capture.state, capture.kind) == ("failed", kind)
    assert (gate.state, gate.failures) == ("new", 0)


def test_a_database_that_is_away_is_no_fault_of_the_camera_and_leaves_the_row_to_the_sweep(wire, gate, monkeypatch):
    monkeypatch.setattr(step, "take_in_capture", lambda *_: (_ for _ in ()).throw(OperationalError("gone")))
    monkeypatch.setattr(step.connection, "close", lambda: None)
    capture = planned(gate)
    assert step.grab_one(capture.pk) is None
    capture.refresh_from_db()
    gate.refresh_from_db()
    assert (capture.state, capture.kind, gate.state) == ("planned", "", "new")


def test_a_camera_removed_meanwhile_leaves_no_file_and_no_row(wire, gate):
    capture = planned(gate)
    unseen = os.urandom(32)  # the storage is shared by all tests
    wire.answers = [lambda: Camera.objects.all().delete() and unseen]
    assert step.grab_one(capture.pk) is None
    assert not Media.objects.exists()
    digest = hashlib.sha256(unseen).hexdigest()
    assert not [path for path in Path(default_storage.path("")).rglob("*") if path.is_file() and digest in str(path)]


def test_a_wrong_key_is_said_and_is_no_fault_of_the_camera(wire, gate, settings):
    settings.CAMERA_KEYS = ["YW5vdGhlci1vbmUtZm9yLXRlc3RzLTAxMjM0NTY3ODk="]
    step.grab_one(planned(gate).pk)
    capture = Capture.objects.get()
    gate.refresh_from_db()
    assert (capture.state, capture.kind, gate.failures) == ("failed", "keys", 0)
    assert "CAMERA_KEYS" in capture.why
    assert wire.asked == []


def test_no_secret_reaches_the_log_or_the_row(wire, gate, caplog):
    wire.answers = [UNAUTHORISED]
    caplog.set_level("DEBUG")
    step.grab_one(planned(gate).pk)
    capture = Capture.objects.get()
    assert "pl4nted" not in caplog.text
    assert "pl4nted" not in f"{capture.__dict__}"


def test_the_log_has_the_first_failure_of_a_camera_only(wire, gate, caplog):
    caplog.set_level("INFO", "workers.capture")
    wire.answers = [UNAUTHORISED] * 2
    step.grab_one(planned(gate).pk)
    assert "User name or password is wrong." in caplog.text
    caplog.clear()
    step.grab_one(planned(gate, planned_at=timezone.now() - timedelta(seconds=1)).pk)
    assert caplog.text == ""


def test_a_grab_ends_before_the_next_one_is_due_but_has_five_seconds(gate, settings):
    settings.GRAB_TOTAL_S, settings.GRAB_CONNECT_S = 12.0, 4.0
    long, short = (planned(gate, planned_at=timezone.now() - timedelta(seconds=n)) for n in (1, 2))
    Capture.objects.filter(pk=short.pk).update(until=timezone.now() + timedelta(seconds=1))
    short.refresh_from_db()
    assert step.limits(long).total_s == 12
    assert step.limits(short).total_s == 5


@pytest.mark.parametrize("loopback", [True, False])
def test_the_settings_say_what_may_be_called_and_how_much_may_come(loopback, settings, tmp_path):
    settings.CAMERA_ALLOW_LOOPBACK, settings.CAMERA_ALLOW_PRIVATE = loopback, not loopback
    settings.CAMERA_FILES_DIR = tmp_path
    settings.GRAB_MAX_BYTES, settings.MEDIA_MAX_PIXELS = 11, 12
    assert step.policy() == Policy(loopback, not loopback, tmp_path)
    assert (step.limits().max_bytes, step.limits().max_pixels) == (11, 12)

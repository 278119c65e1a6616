"""What workers count: how tasks end, what was looked at and found, how cameras did."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from types import SimpleNamespace

import pytest
from billiard.exceptions import WorkerLostError
from celery.exceptions import Retry
from django.conf import settings
from django.core.files.base import File
from django.db.models import QuerySet
from django.utils import timezone

from detection.fields import Secret
from detection.metrics.exposition import of_machine
from detection.models import Analysis, Camera, Capture, Chunk, Notification
from detection.models.intake import take_in
from detection.models.planning import plan_due
from detection.models.pruning import Outcome
from detection.vision.draw import draw_scene, write_clip
from detection.vision.types import DetectStats, MediaError
from tests.cast import a_media, a_model, a_running_analysis
from tests.counting import counted, fresh_counts, series
from tests.workers.conftest import TIMEOUT, UNAUTHORISED, planned
from workers import capture as capture_step
from workers import crash, lanes, measuring, notify, outcome, retention, steps, tasks
from workers.again import TryAgain
from workers.sweep import give_up

__all__ = ["fresh_counts"]
STAGES = {"claim", "open", "load", "plan", "decode", "infer", "track", "thumbnails", "store", "copy"}
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_counts")]


@pytest.fixture(autouse=True)
def _alone(settings, monkeypatch):
    """A renewal is another connection, which does not see this test's transaction; and there is no broker."""
    settings.RENEW_S = 3600
    monkeypatch.setattr(tasks, "turns", lanes.Turns())
    monkeypatch.setattr(tasks, "_publish", lambda *_, **__: True)


def ended() -> dict[tuple[str, ...], float]:
    """Tasks that ended, by outcome and name."""
    return counted("nightjar_tasks_total")


# Tasks


def test_a_task_that_does_its_work_is_done_and_timed(monkeypatch):
    monkeypatch.setattr(steps, "plan", lambda pk: [])
    tasks.analyse.apply((1,))
    assert ended() == {("done", "analyse"): 1}
    assert counted("nightjar_task_seconds_count") == {("analyse",): 1}


def test_a_message_for_a_row_that_is_gone_is_dropped():
    tasks.analyse.apply((999,))
    tasks.analyse_chunk.apply((999,))
    tasks.finish.apply((999,))
    tasks.make_proxy.apply((999,))
    tasks.grab.apply((999,))
    tasks.notify.apply((999,))
    assert {how for how, _ in ended()} == {"dropped"}
    assert sum(ended().values()) == 6


def test_what_is_tried_again_is_retried(monkeypatch):
    def again(pk):
        raise TryAgain(4)

    monkeypatch.setattr(steps, "plan", again)
    monkeypatch.setattr(tasks.analyse, "retry", lambda **_: Retry())
    tasks.analyse.apply((1,))
    assert ended() == {("retried", "analyse"): 1}


def test_what_a_stopping_worker_hands_back_is_neither_done_nor_failed(monkeypatch):
    def again(pk):
        raise TryAgain(0)

    monkeypatch.setattr(steps, "plan", again)
    tasks.analyse.apply((1,))
    assert ended() == {("handed back", "analyse"): 1}


def test_what_fails_on_its_row_has_failed_though_celery_calls_it_a_success(monkeypatch):
    def broken(*_, **__):
        raise MediaError("broken", "It is broken.")

    chunk = a_running_analysis().chunks.first()
    monkeypatch.setattr(steps.pipeline, "detect", broken)
    monkeypatch.setattr(steps, "detector_of", lambda _: None)
    monkeypatch.setattr("workers.working.renew_connection", lambda *_: None)
    tasks.analyse_chunk.apply((chunk.pk,))
    assert Chunk.objects.get(pk=chunk.pk).state == "failed"
    assert ended() == {("failed", "analyse_chunk"): 1}


def test_an_error_that_nobody_expected_is_a_failure(monkeypatch):
    monkeypatch.setattr(steps, "plan", lambda pk: 1 / 0)
    tasks.analyse.apply((1,))
    assert ended() == {("failed", "analyse"): 1}


def test_the_next_task_of_a_process_begins_anew(monkeypatch):
    tasks.analyse.apply((999,))
    monkeypatch.setattr(steps, "plan", lambda pk: [])
    tasks.analyse.apply((1,))
    assert ended() == {("dropped", "analyse"): 1, ("done", "analyse"): 1}


@pytest.mark.parametrize("how", ["crashed", "too long"])
def test_a_task_over_which_its_process_ended_is_counted_by_the_main_process(monkeypatch, how):
    for name in ("report_crash", "report_too_long"):
        monkeypatch.setattr(crash, name, lambda *_: None)
    monkeypatch.setattr(crash.Request, "on_failure", lambda *_, **__: None)
    monkeypatch.setattr(crash.Request, "on_timeout", lambda *_, **__: None)
    request = object.__new__(crash.ReportingRequest)
    request.name, request.worker_pid = "workers.tasks.analyse", 7
    request._request_dict, request._args, request._delivery_info, request.id = {}, (7,), {}, "one"
    if how == "crashed":
        request.on_failure(SimpleNamespace(exception=WorkerLostError("signal 11 (SIGSEGV)")))
    else:
        request.on_timeout(soft=False, timeout=1.0)
    assert ended() == {(how, "analyse"): 1}


def test_a_bad_end_is_there_at_0_before_it_first_comes():
    """A series that begins at 1 is no rise to Prometheus: nobody would be told of the first crash."""
    told = series(of_machine().decode(), "nightjar_tasks_total")
    names = {task.rpartition(".")[2] for task in settings.CELERY["task_routes"]}
    assert {task for _, task in told} == names
    assert told["crashed", "analyse_chunk"] == told["failed", "sweep"] == 0
    assert told["done", "sweep"] == 0  # NightjarSweepStands asks whether it rises
    assert {how for how, _ in told} <= set(outcome.OUTCOMES)


def test_outcomes_are_the_known_ones():
    outcome.begin()
    assert outcome.noted() == ""
    outcome.note(outcome.FAILED)
    outcome.note(outcome.DROPPED)  # of a second step in the same task
    assert outcome.noted() == outcome.FAILED
    outcome.note(outcome.DONE)
    assert outcome.noted() == outcome.DONE


# Analyses


def test_a_clip_counts_its_frames_its_stages_and_what_was_found(tmp_path):
    path = tmp_path / "yard.mp4"
    write_clip(path, draw_scene(3, width=320, height=180, seconds=6, fps=10, parked=False), fps=10)
    with path.open("rb") as file:
        taken = take_in(File(file, name="yard.mp4"), path, hashlib.sha256(path.read_bytes()).hexdigest(), "yard.mp4")
    steps.run_here(taken.analysis)
    analysis = Analysis.objects.get()
    assert counted("nightjar_frames_total") == {
        ("read",): analysis.frames_read,
        ("sampled",): analysis.frames_sampled,
        ("inferred",): analysis.frames_inferred,
    }
    chunks = analysis.chunks.count()
    times = counted("nightjar_stage_seconds_count")
    assert times["plan",] == times["track",] == 1
    assert times["decode",] == times["infer",] == chunks
    assert {stage for (stage,) in times} == STAGES - {"copy"}
    assert counted("nightjar_stage_seconds_sum")["infer",] == pytest.approx(analysis.infer_s, abs=0.01)
    assert counted("nightjar_sightings_total") == {("motion",): analysis.sightings.count()}
    assert counted("nightjar_result_seconds_count") == {(analysis.lane, "clip"): 1}
    ((model, runtime),) = counted("nightjar_inference_seconds_count")
    assert (model, runtime) == (analysis.model.name, "motion")


def test_each_call_of_the_detector_is_timed_under_its_models_name():
    model = a_model()
    measuring.looked(DetectStats(9, 6, 3, 0.1, 0.7, (0.3, 0.4)), model)
    assert counted("nightjar_inference_seconds_count") == {(model.name, model.runtime): 2}
    assert counted("nightjar_inference_seconds_sum")[model.name, model.runtime] == pytest.approx(0.7)
    assert counted("nightjar_frames_total") == {("read",): 9, ("sampled",): 6, ("inferred",): 3}


def test_a_wait_is_measured_by_the_databases_clock_whatever_the_workers_says(monkeypatch):
    analysis = a_running_analysis()
    monkeypatch.setattr(measuring, "now", lambda: analysis.queued_at + timedelta(seconds=7))
    measuring.concluded(analysis, [])
    assert counted("nightjar_result_seconds_sum") == {(analysis.lane, "clip"): 7}


# Cameras


def captures() -> dict[tuple[str, ...], float]:
    """By the camera's state and what became of them."""
    return counted("nightjar_captures_total")


def test_a_picture_counts_by_the_state_its_camera_was_in(wire, gate):
    capture = planned(gate, planned_at=timezone.now() - timedelta(seconds=3))
    tasks.grab.apply((capture.pk,))
    assert captures() == {("new", "grabbed"): 1}
    assert counted("nightjar_capture_delay_seconds_count") == {("new",): 1}
    assert 3 <= counted("nightjar_capture_delay_seconds_sum")["new",] < 30
    assert ended() == {("done", "grab"): 1}


def test_a_picture_that_somebody_asked_for_is_never_late(wire, gate):
    capture_step.grab_one(Capture.ask(gate).pk)
    assert sum(captures().values()) == 1
    assert counted("nightjar_capture_delay_seconds_count") == {}


def test_a_camera_that_refuses_counts_as_failed_with_its_reason(wire, gate):
    wire.answers = [UNAUTHORISED]
    tasks.grab.apply((planned(gate).pk,))
    assert captures() == {("new", "failed"): 1}
    assert counted("nightjar_capture_failures_total") == {("unauthorised",): 1}
    assert ended() == {("failed", "grab"): 1}


def test_an_attempt_that_is_followed_by_another_fails_no_capture(wire, gate, monkeypatch):
    wire.answers = [TIMEOUT]
    monkeypatch.setattr(tasks.grab, "retry", lambda **_: Retry())
    tasks.grab.apply((planned(gate).pk,))
    assert captures() == {}
    assert counted("nightjar_capture_failures_total") == {("timeout",): 1}
    assert ended() == {("retried", "grab"): 1}


def test_planned_times_that_nobody_came_to_are_missed_each_of_them(gate):
    then = timezone.now() - timedelta(minutes=30)
    Camera.objects.filter(pk=gate.pk).update(accounted_until=then, next_at=gate.rule.next_after(then), state="offline")
    plan_due()
    missed = sum(capture.times for capture in Capture.objects.filter(state="missed"))
    assert missed > 20
    assert captures() == {("offline", "missed"): missed}


def test_a_capture_that_no_worker_took_in_time_is_missed(gate):
    planned(gate, until=timezone.now() - timedelta(seconds=1))
    Capture.end_expired()
    assert captures() == {("new", "missed"): 1}


def test_of_two_sweeps_at_once_whoever_ends_a_capture_counts_it(gate, monkeypatch):
    """The other is through between this one's look and its change."""
    planned(gate, until=timezone.now() - timedelta(seconds=1))
    looked, other = Capture.expired, []

    def expired():
        if not other:
            other.append(True)
            found = looked()
            monkeypatch.setattr(QuerySet, "values_list", the_other_sweep_comes_first)
            return found
        return looked()

    values_list = QuerySet.values_list

    def the_other_sweep_comes_first(rows, *args, **how):
        found = list(values_list(rows, *args, **how))
        monkeypatch.setattr(QuerySet, "values_list", values_list)
        Capture.end_expired()
        return found

    monkeypatch.setattr(Capture, "expired", expired)
    assert Capture.end_expired() == 0
    assert captures() == {("new", "missed"): 1}


def test_a_capture_that_waits_for_its_next_attempt_fails_when_its_time_is_over(wire, gate, monkeypatch):
    wire.answers = [TIMEOUT]
    monkeypatch.setattr(tasks.grab, "retry", lambda **_: Retry())
    tasks.grab.apply((planned(gate).pk,))
    Capture.objects.update(until=timezone.now() - timedelta(seconds=1))
    Capture.end_expired()
    Capture.end_expired()
    assert captures() == {("new", "failed"): 1}


def test_a_capture_that_is_over_as_its_camera_is_paused_counts_too(gate):
    Camera.objects.update(state="failing")
    planned(gate)
    planned(gate, planned_at=timezone.now() - timedelta(seconds=1), kind="timeout", why="Too slow.", attempts=1)
    gate.pause()
    assert captures() == {("failing", "missed"): 1, ("failing", "failed"): 1}


def test_a_capture_that_is_over_as_its_camera_gets_another_address_counts_by_the_state_of_the_old(gate):
    Camera.objects.update(state="offline")
    gate.refresh_from_db()
    planned(gate)
    gate.put_in_service(Secret.of("http://10.0.0.6/snap.jpg"))
    assert captures() == {("offline", "missed"): 1}


def test_a_capture_that_a_command_does_not_try_again_has_failed(wire, gate):
    wire.answers = [TIMEOUT]
    capture, _ = capture_step.grab_now(gate)
    assert capture.state == "failed"
    assert captures() == {("new", "failed"): 1}


def test_a_capture_that_another_worker_has_by_now_is_not_counted_by_this_one(wire, gate):
    """Its lease ran out, and it was grabbed by another meanwhile."""

    def meanwhile():
        Capture.objects.update(lease=None, state="grabbed")
        raise UNAUTHORISED

    wire.answers = [meanwhile]
    tasks.grab.apply((planned(gate).pk,))
    assert captures() == {}


# The rest


def test_what_retention_removes_is_counted(monkeypatch):
    gone = Outcome(is_done=True)
    gone.summary.total.media, gone.summary.total.bytes = 3, 5000
    monkeypatch.setattr(retention, "prune", lambda _: gone)
    monkeypatch.setattr(retention, "has_rules", lambda: True)
    retention.prune_for_a_while()
    assert counted("nightjar_retention_media_total") == {(): 3}
    assert counted("nightjar_retention_bytes_total") == {(): 5000}


def test_people_who_are_told_are_a_task_that_is_done(gate, monkeypatch):
    from detection.models import CameraEvent

    event = CameraEvent.objects.create(camera=gate, kind="offline", at=timezone.now())
    row = Notification.objects.create(event=event, channel="email", due_at=timezone.now())
    monkeypatch.setattr(notify, "send", lambda *_: None)
    monkeypatch.setattr("workers.working.renew_connection", lambda *_: None)
    tasks.notify.apply((row.pk,))
    assert ended() == {("done", "notify"): 1}


def test_giving_up_costs_nothing_where_nothing_is_to_be_given_up():
    a_media()
    assert give_up() == 0
    assert ended() == {}

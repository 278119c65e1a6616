"""What a task leaves in the log, and how the correlation id gets from the request to the last of its tasks."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from unittest.mock import Mock

import pytest
from celery import current_app
from celery.app.trace import build_tracer
from celery.exceptions import Retry
from django.db import DatabaseError
from django.db.models.functions import Now

from detection import correlation
from detection.models import Analysis, Camera, CameraEvent, Capture, Chunk, Notification, Proxy, Trial
from detection.sources import Source
from detection.vision.types import DetectorError, MediaError
from tests.cast import ADDRESS, a_camera, a_media, a_model, a_running_analysis, a_user, do_chunks
from tests.counting import counted, fresh_counts
from tests.heard import listening
from tests.processes import wait_for
from tests.workers import test_task_arguments
from tests.workers.conftest import TIMEOUT, Wire, planned
from workers import lanes, outcome, stages, steps, sweep, tasks
from workers.again import TryAgain
from workers.lease import Keeper
from workers.working import working_on

__all__ = ["fresh_counts"]
pytestmark = pytest.mark.django_db
NAME = "workers.trail"
broker = test_task_arguments.broker  # the fixture


def sent(broker: test_task_arguments.Broker) -> dict[tuple[str, int], str]:
    """The id in the headers of each message that lies in the queues."""
    found = {}
    for queue in ("analyse", "chunks", "finish", "again", "grab", "probe", "notify", "proxies", "bulk-analyse"):
        while message := broker.channel.basic_get(queue, no_ack=True):
            words = message.headers["argsrepr"].strip("(),").split()
            key = (message.headers["task"].rpartition(".")[2], int(words[-1]))
            found[key] = message.headers[correlation.MESSAGE_HEADER]
    return found


def worked(task, *args: object, headers: dict | None = None, queue: str = "analyse") -> object:
    """Does a task as a worker does that has got its message; answers what Celery makes of it."""
    request = {"id": "one", "args": args, "delivery_info": {"routing_key": queue}, "is_eager": True, **(headers or {})}
    tracer = build_tracer(task.name, task, app=current_app._get_current_object(), eager=True, propagate=False)
    return tracer("one", args, {}, request)


# The way of the id


def test_every_message_has_the_id_of_its_row(broker) -> None:
    camera, user, media = a_camera(), a_user("operator"), a_media()
    with correlation.bound("upload-1"):
        analysis, running = Analysis.request(media), a_running_analysis(a_media(b"two"))
        proxy = Proxy.objects.create(media=media)
        trial, capture = Trial.ask(Source("http", ADDRESS), user), Capture.ask(camera, user)
    with correlation.bound("another"):
        for row in (analysis, running):
            assert tasks.send_analysis(row)
        assert tasks.send_proxy(proxy)
        assert tasks.send_capture(capture)
    with correlation.bound("upload-1"):
        assert tasks.send_trial(trial)
    found = sent(broker)
    assert len(found) == 6
    assert set(found.values()) == {"upload-1"}


def test_what_the_sweep_sends_again_has_the_id_of_its_row_for_the_message_may_be_lost(
    broker,
    settings,
) -> None:
    settings.NOTIFY_EMAILS = ["guard@example.org"]
    rows = {}
    user, camera = a_user("operator"), a_camera()
    with correlation.bound("a"):
        rows["analyse", Analysis.request(a_media(b"one")).pk] = "a"
    with correlation.bound("b"):
        running = a_running_analysis(a_media(b"two"))
        rows |= {("analyse_chunk", chunk.pk): "b" for chunk in running.chunks.all()}
    with correlation.bound("c"):
        ready = a_running_analysis(a_media(b"three"))
        do_chunks(ready)
        rows["finish", ready.pk] = "c"
    with correlation.bound("d"):
        rows["make_proxy", Proxy.objects.create(media=a_media(b"four")).pk] = "d"
        rows["try_source", Trial.ask(Source("http", ADDRESS), user).pk] = "d"
        CameraEvent.tell(camera, CameraEvent.Kind.OFFLINE, "It did not answer.")
        rows["notify", Notification.objects.get().pk] = "d"
        lost = Capture.ask(camera, user)
        Capture.objects.filter(pk=lost.pk).update(sent_at=Now() - timedelta(minutes=1))
        rows["grab", lost.pk] = "d"
    Camera.objects.update(next_at=None)
    with correlation.bound("sweep"):
        tasks.sweep()
    assert sent(broker) == rows


def test_a_row_from_before_there_were_ids_is_sent_under_the_sweeps(broker) -> None:
    analysis = Analysis.request(a_media())
    assert analysis.correlation_id == ""
    with correlation.bound("sweep-1"):
        tasks.sweep()
    assert sent(broker) == {("analyse", analysis.pk): "sweep-1"}


def test_a_task_goes_under_the_id_of_its_message_and_one_of_beats_under_a_new_one(monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(steps, "plan", lambda _pk: seen.append(correlation.current()))
    worked(tasks.analyse, 1, headers={correlation.MESSAGE_HEADER: "upload-1"})
    worked(tasks.analyse, 1)
    worked(tasks.analyse, 1, headers={correlation.MESSAGE_HEADER: "not plain\n"})
    assert seen[0] == "upload-1"
    assert len(set(seen)) == 3
    assert all(correlation.taken_over(one) == one for one in seen)
    assert correlation.current() == ""


def test_a_retry_is_sent_under_the_same_id(broker, monkeypatch) -> None:
    def fail(_: int) -> None:
        raise TryAgain(2)

    monkeypatch.setattr(steps, "plan", fail)
    tasks.analyse.push_request(id="one", args=(7,), kwargs={}, called_directly=False)
    try:
        with correlation.bound("upload-1"), pytest.raises(Retry):
            tasks.analyse.run(7)
    finally:
        tasks.analyse.pop_request()
    assert sent(broker) == {("analyse", 7): "upload-1"}


def test_the_chunks_that_a_plan_makes_are_sent_under_the_analysis_id_also_where_bulk_did_it_in_passing(
    broker,
    monkeypatch,
) -> None:
    with correlation.bound("upload-1"):
        analysis = a_running_analysis()
    monkeypatch.setattr(steps, "plan", lambda _pk: list(analysis.chunks.select_related("analysis")))
    with correlation.bound("of the bulk message"):
        tasks._plan(analysis.pk)
    assert set(sent(broker).values()) == {"upload-1"}


def test_a_picture_from_a_camera_hands_its_id_on_to_its_analysis(wire: Wire, gate: Camera, broker) -> None:
    capture = planned(gate, correlation_id="capture-1")
    with correlation.bound("of the message"):
        worked(tasks.grab, capture.pk, queue="grab")
    analysis = Analysis.objects.get()
    assert analysis.correlation_id == "capture-1"
    assert sent(broker) == {("analyse", analysis.pk): "capture-1"}


def test_what_is_sent_again_goes_by_the_row_where_the_message_has_an_old_id(broker, monkeypatch) -> None:
    """Somebody retried it since: its message is from before, or the sweep's."""
    with correlation.bound("retried-by"):
        chunk = a_running_analysis().chunks.all()[0]
    monkeypatch.setattr(steps, "_opened", Mock(side_effect=DetectorError("Not now.", permanent=False)))
    with listening(NAME) as heard:
        worked(tasks.analyse_chunk, chunk.pk, headers={correlation.MESSAGE_HEADER: "old", "is_eager": False})
    assert heard.ids(NAME) == ["retried-by"]
    assert heard.facts(NAME)["outcome"] == outcome.RETRIED
    assert set(sent(broker).values()) == {"retried-by"}
    assert correlation.current() == ""


def test_the_line_of_a_task_has_the_id_of_its_row(wire: Wire, gate: Camera, broker) -> None:
    capture = planned(gate, correlation_id="capture-1")
    with listening(NAME) as heard:
        worked(tasks.grab, capture.pk, queue="grab", headers={correlation.MESSAGE_HEADER: "of the message"})
    assert heard.ids(NAME) == ["capture-1"]


def test_outside_of_any_task_a_row_changes_the_id_of_nothing_else() -> None:
    a_model().activate()
    with correlation.bound("upload-1"):
        row = Analysis.request(a_media())
    claimed = Analysis.claim(row.pk, "worker")
    assert claimed is not None
    with correlation.bound("of a command"):
        with working_on(claimed):
            assert correlation.current() == "upload-1"
        assert correlation.current() == "of a command"


def test_a_camera_that_fails_is_said_under_its_captures_id(wire: Wire, gate: Camera, broker) -> None:
    wire.answers = [TIMEOUT]
    capture = planned(gate, correlation_id="capture-1")
    with listening("workers.capture") as heard:
        worked(tasks.grab, capture.pk, queue="grab")
    assert set(heard.ids("workers.capture")) == {"capture-1"}


def test_all_that_is_said_of_a_row_while_it_is_worked_on_has_its_id() -> None:
    a_model().activate()
    with correlation.bound("upload-1"):
        row = Analysis.request(a_media())
    claimed = Analysis.claim(row.pk, "worker")
    assert claimed is not None
    with listening("workers.working") as heard, correlation.bound("of the message"), working_on(claimed):
        raise DetectorError("The model is broken.", permanent=True)
    assert heard.ids("workers.working") == ["upload-1"]


def test_the_thread_that_renews_a_lease_speaks_under_the_works_id(settings) -> None:
    settings.RENEW_S = 0.01
    work = Mock(pk=1, renew=Mock(side_effect=DatabaseError("away")))
    with listening("workers.lease") as heard, correlation.bound("upload-1"), Keeper(work):
        wait_for("a renewal that failed", lambda: heard.lines)
    assert set(heard.ids("workers.lease")) == {"upload-1"}


def test_what_is_given_up_and_what_died_is_said_under_its_rows_id(settings) -> None:
    settings.MAX_ATTEMPTS = 1
    with correlation.bound("upload-1"):
        analysis = Analysis.request(a_media())
    Analysis.objects.update(attempts=1)
    with correlation.bound("sweep"), listening("workers.sweep") as heard:
        assert sweep.give_up() == 1
    assert heard.ids("workers.sweep") == ["upload-1"]
    assert f"analysis {analysis.pk}" in heard.of("workers.sweep")[0].getMessage()


# The line of a task


def test_a_task_is_one_line_with_what_it_did_to_what_and_how_that_ended(monkeypatch) -> None:
    monkeypatch.setattr(steps, "plan", lambda _pk: [])
    with listening(NAME) as heard:
        worked(tasks.analyse, 17, headers={correlation.MESSAGE_HEADER: "upload-1", "retries": 1})
    facts = heard.facts(NAME)
    assert (facts["levelname"], facts["task"], facts["pk"], facts["outcome"]) == ("INFO", "analyse", 17, "done")
    assert (facts["attempt"], facts["queue"], facts["task_id"]) == (2, "analyse", "one")
    assert facts["duration_ms"] >= 0
    assert heard.ids(NAME) == ["upload-1"]


@pytest.mark.parametrize(
    ("answer", "how", "level"),
    [
        ([], outcome.DONE, "INFO"),
        (None, outcome.DROPPED, "DEBUG"),
        (TryAgain(2), outcome.RETRIED, "INFO"),
        (TryAgain(0), outcome.HANDED_BACK, "INFO"),
        (RuntimeError("bad"), outcome.FAILED, "WARNING"),
    ],
)
def test_how_a_task_ended_is_said_in_one_word(
    broker,
    monkeypatch,
    answer: object,
    how: str,
    level: str,
) -> None:
    def step(_pk: int) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(steps, "plan", step)
    with listening(NAME) as heard:
        worked(tasks.analyse, 17)
    facts = heard.facts(NAME)
    assert (facts["outcome"], facts["levelname"]) == (how, level)


@pytest.mark.usefixtures("fresh_counts")
def test_what_somebody_waits_for_is_done_under_its_own_name_and_the_bulk_in_whose_turn_it_was_is_put_off(
    broker,
    monkeypatch,
) -> None:
    a_model().activate()
    with correlation.bound("bulk-1"):
        bulk = Analysis.request(a_media(b"one"))
        Analysis.objects.filter(pk=bulk.pk).update(lane="bulk")
    with correlation.bound("person-1"):
        waited_for = Analysis.request(a_media(b"two"))
    done: list[int] = []
    monkeypatch.setattr(tasks, "turns", lanes.Turns())
    monkeypatch.setattr(steps, "plan", lambda pk: done.append(pk) or [])
    with listening(NAME) as heard:
        worked(tasks.analyse, bulk.pk, queue="bulk-analyse", headers={correlation.MESSAGE_HEADER: "bulk-1"})
    assert done == [waited_for.pk]
    assert [(record.pk, record.outcome) for record in heard.of(NAME)] == [(waited_for.pk, "done"), (bulk.pk, "put off")]
    assert heard.ids(NAME) == ["person-1", "bulk-1"]
    assert counted("nightjar_tasks_total") == {("done", "analyse"): 1, ("put off", "analyse"): 1}
    assert sent(broker) == {("analyse", bulk.pk): "bulk-1"}


def test_what_is_done_every_moment_is_quiet_unless_it_fails(monkeypatch) -> None:
    with listening(NAME) as heard:
        worked(tasks.sweep)
        monkeypatch.setattr(tasks, "plan_due", Mock(side_effect=RuntimeError("bad")))
        worked(tasks.sweep)
    assert [(record.levelname, record.outcome) for record in heard.of(NAME)] == [
        ("DEBUG", "done"),
        ("WARNING", "failed"),
    ]
    assert not hasattr(heard.of(NAME)[0], "pk")


def test_tasks_in_threads_do_not_mix_their_ids(monkeypatch) -> None:
    both = threading.Barrier(2, timeout=20)
    seen: dict[int, str] = {}

    def look(pk: int) -> list[object]:
        both.wait()
        seen[pk] = correlation.current()
        both.wait()
        return []

    monkeypatch.setattr(steps, "plan", look)
    threads = [
        threading.Thread(target=partial(worked, tasks.analyse, pk, headers={correlation.MESSAGE_HEADER: word}))
        for pk, word in ((1, "one"), (2, "two"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {1: "one", 2: "two"}


# Slow stages


def test_a_slow_stage_is_said_with_where_all_the_time_went(settings) -> None:
    settings.SLOW_STAGE_S = 5
    stages.begin()
    stages.took("open", 0.2)
    stages.took("decode", 3.0)
    stages.took("decode", 3.0)
    with listening("detection.slow") as heard:
        stages.end("chunk 7")
        stages.end("chunk 7")
    facts = heard.facts("detection.slow")
    assert (facts["levelname"], facts["stages_s"]) == ("WARNING", {"open": 0.2, "decode": 6.0})
    assert heard.of("detection.slow")[0].getMessage() == "chunk 7: slow in decode"


def test_work_that_ends_says_its_slow_stages_whether_it_went_well_or_not(settings) -> None:
    settings.SLOW_STAGE_S = 0
    chunk = Chunk.claim(a_running_analysis(a_media()).chunks.first().pk, "w")
    for error in (None, MediaError("truncated", "The file is cut off.")):
        stages.begin()
        with listening("detection.slow") as heard, working_on(chunk):
            stages.took("decode", 3.0)
            if error:
                raise error
        facts = heard.facts("detection.slow")
        assert (facts["msg"] % facts["args"], facts["stages_s"]) == (
            f"chunk {chunk.pk}: slow in decode",
            {"decode": 3.0},
        )


def test_where_nothing_is_slow_nothing_is_said(settings) -> None:
    settings.SLOW_STAGE_S = 5
    stages.begin()
    with listening("detection.slow") as heard:
        with pytest.raises(ValueError), stages.stage("open"):
            raise ValueError
        stages.end("chunk 7")
    assert heard.lines == []

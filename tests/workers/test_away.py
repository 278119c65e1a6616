"""With the broker away one message waits for it; those after it are left to the sweep at once."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from detection.models import Analysis, Capture
from tests.cast import a_media
from workers import away, tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The keys of what was tried to be sent to a broker that is away."""
    keys: list[int] = []

    def refuse(args: tuple[int], **_: object) -> None:
        keys.append(args[0])
        raise OperationalError("nobody there")

    monkeypatch.setattr(tasks.analyse, "apply_async", refuse)
    return keys


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(away.time, "monotonic", lambda: moment[0])
    return moment


def queued(number: int) -> Analysis:
    return Analysis.request(a_media(bytes([number])))


def test_after_one_that_could_not_be_sent_the_next_do_not_wait(tried: list[int], clock: list[float]) -> None:
    first, second, third = (queued(number) for number in range(3))
    assert not tasks.send_analysis(first)
    assert not tasks.send_analysis(second)
    assert tried == [first.pk]
    second.refresh_from_db()
    assert second.sent_at is None, "so that the sweep sends it"
    clock[0] += away.FOR_S
    assert not tasks.send_analysis(third)
    assert tried == [first.pk, third.pk]


def test_while_one_finds_out_whether_it_is_back_the_others_do_not_wait(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.away.note()
    clock[0] += away.FOR_S
    others: list[bool] = []

    def hang(args: tuple[int], **_: object) -> None:
        clock[0] += away.FOR_S * 2  # for longer than it was taken to be away
        others.extend(tasks.away.is_so() for _ in range(31))
        raise OperationalError("nobody answers")

    monkeypatch.setattr(tasks.analyse, "apply_async", hang)
    assert not tasks.send_analysis(queued(1))
    assert others == [True] * 31
    assert tasks.away.is_so()


def test_where_who_finds_out_is_never_heard_of_again_another_does(clock: list[float]) -> None:
    tasks.away.note()
    clock[0] += away.FOR_S
    assert not tasks.away.is_so()
    assert tasks.away.is_so()
    clock[0] += away.FINDS_OUT_S
    assert not tasks.away.is_so()


def test_pictures_that_are_asked_for_do_not_wait_either(tried: list[int], clock: list[float]) -> None:
    assert not tasks.send_analysis(queued(1))
    assert not tasks.send_capture(Capture())


def test_a_sweep_that_comes_shows_that_the_broker_is_back(
    tried: list[int], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not tasks.send_analysis(queued(1))
    sent: list[int] = []
    monkeypatch.setattr(tasks.analyse, "apply_async", lambda args, **_: sent.append(args[0]))
    monkeypatch.setattr("workers.sweep.queue_length", lambda _queue: 0)
    monkeypatch.setattr(tasks, "_send_captures", lambda _captures: True)
    tasks.sweep()
    assert sent == list(Analysis.objects.values_list("pk", flat=True))
    assert not tasks.away.is_so()

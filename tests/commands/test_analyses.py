"""`manage.py analyses`."""

from __future__ import annotations

import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from detection.models import Analysis, Chunk
from tests.cast import IMAGE, a_done_analysis, a_media, a_running_analysis

pytestmark = pytest.mark.django_db


class Sent(list):
    is_away = False

    def send(self, analysis: Analysis) -> bool:
        self.append(analysis.pk)
        return not self.is_away


@pytest.fixture(autouse=True)
def sent(monkeypatch) -> Sent:
    sent = Sent()
    monkeypatch.setattr("detection.management.commands.analyses.send_analysis", sent.send)
    return sent


@pytest.fixture
def yard() -> dict[str, Analysis]:
    queued = Analysis.request(a_media(b"1", name="queued.mp4"))
    running = a_running_analysis(a_media(b"2", name="running.mp4"))
    Chunk.claim(running.chunks.first().pk, "worker")
    done = a_done_analysis(a_media(b"3", name="done.mp4"))
    failed = a_failed("failed.jpg")
    return {"queued": queued, "running": running, "done": done, "failed": failed}


def a_failed(name: str, kind: str = "storage") -> Analysis:
    analysis = a_running_analysis(a_media(name.encode(), IMAGE, name=name))
    Chunk.claim(analysis.chunks.first().pk, "worker").fail(kind, f"It is {kind}.", "the technical tail")
    analysis.refresh_from_db()
    return analysis


def run(capsys, *arguments: object) -> str:
    call_command("analyses", *map(str, arguments))
    return capsys.readouterr().out


def exit_code(capsys, *arguments: object) -> tuple[int, str, str]:
    """What the shell gets, and what was said on both sides."""
    try:
        call_command("analyses", *map(str, arguments))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def state(analysis: Analysis) -> str:
    return Analysis.objects.get(pk=analysis.pk).state


def test_it_lists_the_newest_first_with_what_is_to_be_said_of_each(capsys, yard):
    lines = run(capsys).splitlines()
    assert [line.split()[:2] for line in lines] == [
        [str(yard[name].pk), state] for name, state in (("failed", "failed"), ("done", "done"), ("running", "running"),
                                                        ("queued", "queued"))
    ]  # fmt: skip
    assert lines[0].endswith("failed.jpg  [storage] It is storage.")
    assert lines[2].endswith("running.mp4  0 of 250 frames.")
    assert lines[3].endswith("queued.mp4  It is accepted and waits for the queue.")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--state", "open"], ["running", "queued"]),
        (["--state", "failed"], ["failed"]),
        (["--kind", "storage"], ["failed"]),
        (["--media", "ING.MP4"], ["running"]),
        (["--limit", "2"], ["failed", "done"]),
        (["--state", "history"], []),
    ],
)
def test_the_list_can_be_narrowed(capsys, yard, arguments, wanted):
    out = run(capsys, *arguments, "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == [yard[name].pk for name in wanted]


def test_an_empty_list_says_so(capsys, yard):
    assert run(capsys, "--state", "cancelled") == "There are no such analyses.\n"
    Analysis.objects.all().delete()
    assert run(capsys) == "There are no analyses yet.\n"


def test_a_wrong_question_is_answered_with_a_sentence(yard):
    with pytest.raises(CommandError, match="--limit must be at least 1"):
        call_command("analyses", "--limit", "0")
    with pytest.raises(CommandError, match="invalid choice: 'lost'"):
        call_command("analyses", "--state", "lost")


def test_show_tells_all_about_one(capsys, yard):
    out = run(capsys, "show", yard["failed"].pk)
    for words in ("failed.jpg", "It is storage.", "files that the storage did not give", "the technical tail"):
        assert words in out
    facts = json.loads(run(capsys, "show", yard["running"].pk, "--json"))
    assert (facts["state"], facts["step"], facts["frames"], facts["frames_planned"]) == ("running", "detect", 0, 250)
    assert (facts["attempts"], facts["place"]) == (1, None)
    assert facts["requested_at"] == yard["running"].requested_at.isoformat()
    with pytest.raises(CommandError, match=r"There is no analysis 999\."):
        call_command("analyses", "show", "999")


def test_cancel_says_what_came_of_each(capsys, yard):
    numbers = [yard[name].pk for name in ("queued", "running", "done")]
    code, out, err = exit_code(capsys, "cancel", *numbers)
    assert code == 0
    assert out.splitlines() == [
        f"Analysis {numbers[0]} of queued.mp4 is cancelled.",
        f"Analysis {numbers[1]} of running.mp4 is cancelled.",
    ]
    assert err == f"Analysis {numbers[2]} of done.mp4 is done: there is nothing to cancel.\n"
    assert (state(yard["queued"]), state(yard["running"]), state(yard["done"])) == ("cancelled", "cancelled", "done")


def test_retry_says_what_came_of_each_and_sends_it(capsys, yard, sent):
    code, out, _ = exit_code(capsys, "retry", yard["failed"].pk)
    assert (code, out) == (0, f"Analysis {yard['failed'].pk} of failed.jpg is tried again.\n")
    assert sent == [yard["failed"].pk]
    assert state(yard["failed"]) == "running"


def test_many_numbers_are_retried_together_as_bulk_and_only_the_first_are_sent(capsys, yard, sent, settings):
    settings.INTERACTIVE_MOST = 10
    many = [a_failed(f"{number}.jpg") for number in range(25)]
    numbers = [analysis.pk for analysis in many]
    code, out, err = exit_code(capsys, "retry", *numbers, yard["done"].pk, numbers[0])
    assert code == 0
    assert out.splitlines() == [f"Analysis {one.pk} of {one.media.name} is tried again." for one in many]
    assert err == f"Analysis {yard['done'].pk} of done.mp4 is done: there is nothing to retry.\n"
    assert sent == numbers[:20]  # the sweep sends the rest
    assert set(Analysis.objects.filter(pk__in=numbers).values_list("state", "lane")) == {("running", "bulk")}


def test_a_queue_that_is_away_is_asked_once_for_all_the_numbers(capsys, yard, sent):
    sent.is_away = True
    numbers = [yard["failed"].pk, *(a_failed(f"{number}.jpg").pk for number in range(3))]
    code, out, err = exit_code(capsys, "retry", *numbers)
    assert (code, len(out.splitlines()), sent) == (0, 4, numbers[:1])
    assert err == "The queue cannot be reached just now: it is sent as soon as that is back.\n"


def test_one_that_ended_while_it_was_to_be_cancelled_is_said_to_have_ended(capsys, yard, monkeypatch):
    def too_late(rows):
        rows.update(state="done")
        return 0

    monkeypatch.setattr(Analysis, "cancel_many", too_late)
    code, out, err = exit_code(capsys, "cancel", yard["queued"].pk)
    assert (code, out) == (1, "")
    assert "of queued.mp4 is done: there is nothing to cancel." in err


def test_an_unknown_number_ends_with_1_and_the_others_are_done(capsys, yard):
    code, out, err = exit_code(capsys, "cancel", 999, yard["queued"].pk)
    assert (code, err) == (1, "There is no analysis 999.\n")
    assert "is cancelled" in out
    assert state(yard["queued"]) == "cancelled"


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_where_nothing_could_be_done_it_ends_with_1(capsys, yard, verb):
    code, out, err = exit_code(capsys, verb, yard["done"].pk)
    assert (code, out) == (1, "")
    assert f"is done: there is nothing to {verb}." in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["cancel"],
        ["retry"],
        ["cancel", "1", "--all-waiting"],
        ["retry", "1", "--failed"],
        ["retry", "1", "--kind", "x"],
    ],
)
def test_one_has_to_say_which(yard, arguments):
    with pytest.raises(CommandError):
        call_command("analyses", *arguments)
    assert state(yard["queued"]) == "queued"


def test_all_that_wait_are_cancelled_and_what_runs_goes_on(capsys, yard):
    assert run(capsys, "cancel", "--all-waiting") == "1 analysis is cancelled.\n"
    assert (state(yard["queued"]), state(yard["running"])) == ("cancelled", "running")
    with pytest.raises(CommandError, match="Nothing waits"):
        call_command("analyses", "cancel", "--all-waiting")


def test_all_that_failed_are_retried_or_those_of_a_kind(capsys, yard, sent):
    detector, history = a_failed("detector.jpg", "detector"), a_failed("history.jpg", "detector")
    a_done_analysis(history.media)
    assert run(capsys, "retry", "--failed", "--kind", "detector") == "1 analysis is tried again.\n"
    assert (sent, state(yard["failed"]), state(history)) == ([detector.pk], "failed", "failed")
    with pytest.raises(CommandError, match=r"No analysis failed with “x”\. There are: storage \(1\)\."):
        call_command("analyses", "retry", "--failed", "--kind", "x")
    another = a_failed("another.jpg")
    assert run(capsys, "retry", "--failed") == "2 analyses are tried again.\n"
    assert sent == [detector.pk, yard["failed"].pk, another.pk]
    with pytest.raises(CommandError, match="No analysis failed, so there is nothing to retry"):
        call_command("analyses", "retry", "--failed")


def test_without_a_broker_it_is_opened_and_the_sweep_will_send_it(capsys, yard, sent):
    sent.is_away = True
    code, out, err = exit_code(capsys, "retry", "--failed")
    assert (code, out) == (0, "1 analysis is tried again.\n")
    assert "The queue cannot be reached just now" in err
    assert Chunk.objects.filter(analysis=yard["failed"], state="queued", sent_at=None).exists()

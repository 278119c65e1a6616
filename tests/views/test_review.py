"""Verdicts by plain forms and by the page's script."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from detection.models import Sighting, Verdict
from tests.cast import a_done_analysis, a_media, a_track

SCRIPT = {"hx-request": "true"}


@pytest.fixture
def sighting(db: None) -> Sighting:
    return a_done_analysis().sightings.get()


def judge(client: Client, sighting: Sighting, *, script: bool = False, **values: str) -> Any:
    return client.post(f"/sightings/{sighting.pk}/verdict", values, headers=SCRIPT if script else {})


def undo(client: Client, sighting: Sighting, *, script: bool = False) -> Any:
    return client.post(f"/sightings/{sighting.pk}/undo", headers=SCRIPT if script else {})


def now(sighting: Sighting) -> tuple[str, str]:
    sighting = Sighting.objects.select_related("verdict").get(pk=sighting.pk)
    return sighting.review, sighting.shown_label


def test_a_form_judges_and_leads_back_to_the_sighting(reviewer: Client, sighting: Sighting) -> None:
    answer = judge(reviewer, sighting, kind="confirmed")
    media = sighting.media_id
    assert answer["Location"] == f"/media/{media}/?sighting={sighting.pk}#sighting-{sighting.pk}"
    assert now(sighting) == ("confirmed", "car")
    assert Verdict.objects.get().user.username == "the reviewer"
    assert "Confirmed." in reviewer.get(answer["Location"]).text


def test_a_form_leads_back_to_the_list_it_came_from_and_nowhere_else(reviewer: Client, sighting: Sighting) -> None:
    answer = judge(reviewer, sighting, kind="rejected", next="/sightings/?label=car")
    assert answer["Location"] == "/sightings/?label=car"
    answer = judge(reviewer, sighting, kind="rejected", next="https://elsewhere.example/")
    assert answer["Location"].startswith("/media/")


def test_the_script_gets_the_sighting_as_it_is_now(reviewer: Client, sighting: Sighting) -> None:
    answer = judge(reviewer, sighting, script=True, kind="relabelled", label=" van ")
    assert answer.status_code == 200
    assert now(sighting) == ("relabelled", "van")
    assert 'data-review="relabelled" data-label="van"' in answer.text
    assert "the model said car" in answer.text
    assert answer.text.count("<li") == 1


def test_the_script_gets_a_card_where_it_sent_one(reviewer: Client, sighting: Sighting) -> None:
    answer = judge(reviewer, sighting, script=True, kind="confirmed", part="card", next="/sightings/?page=2")
    assert f'id="card-{sighting.pk}"' in answer.text
    assert 'value="/sightings/?page=2"' in answer.text


def test_undo_brings_back_the_verdict_before(reviewer: Client, sighting: Sighting) -> None:
    judge(reviewer, sighting, kind="rejected")
    judge(reviewer, sighting, kind="relabelled", label="van")
    undo(reviewer, sighting)
    assert now(sighting) == ("rejected", "car")
    assert 'data-review=""' in undo(reviewer, sighting, script=True).text
    assert now(sighting) == ("", "car")
    answer = undo(reviewer, sighting)
    assert "There was no verdict to undo." in reviewer.get(answer["Location"]).text


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "relabelled", "label": "  "}, "Write the new label first."),
        ({"kind": "relabelled", "label": "x" * 101}, "A label has at most 100 letters."),
        ({"kind": "moved"}, "A sighting is confirmed, rejected or relabelled; nothing else."),
        ({"kind": "withdrawn"}, "A sighting is confirmed, rejected or relabelled; nothing else."),
        ({}, "Say whether it is confirmed, rejected or relabelled."),
    ],
)
def test_a_wrong_verdict_is_a_sentence_and_changes_nothing(
    reviewer: Client, sighting: Sighting, values: dict[str, str], sentence: str
) -> None:
    answer = judge(reviewer, sighting, script=True, **values)
    assert (answer.status_code, answer.text) == (422, sentence)
    back = judge(reviewer, sighting, **values)
    assert sentence in reviewer.get(back["Location"]).text
    assert now(sighting) == ("", "car")
    assert not Verdict.objects.exists()


def test_an_earlier_result_is_not_judged(reviewer: Client) -> None:
    media = a_media()
    old = a_done_analysis(media).sightings.get()
    a_done_analysis(media, [a_track("dog")])
    assert judge(reviewer, old, script=True, kind="confirmed").status_code == 409
    assert undo(reviewer, old, script=True).status_code == 409
    assert now(old) == ("", "car")


def test_a_viewer_sees_no_buttons_and_is_told_whom_to_ask(viewer: Client, sighting: Sighting) -> None:
    text = viewer.get(f"/media/{sighting.media_id}/").text
    assert "/verdict" not in text
    assert "ask an administrator for the group reviewer" in text
    assert '/verdict"' not in viewer.get("/sightings/").text


def test_a_label_is_shown_as_text_and_never_as_markup(reviewer: Client, sighting: Sighting) -> None:
    label = "</script><script>alert(1)</script>"
    judge(reviewer, sighting, kind="relabelled", label=label)
    for path in (f"/media/{sighting.media_id}/", "/sightings/", "/"):
        assert "<script>alert" not in reviewer.get(path).text


def test_a_verdict_without_its_token_is_refused(reviewer: Client, sighting: Sighting) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = reviewer.cookies
    assert judge(strict, sighting, kind="confirmed").status_code == 403
    assert now(sighting) == ("", "car")

"""How the system is, as operators see it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from django.test import Client

from tests.health.seen import ALL, a_snapshot
from tests.views.conftest import Visit

PATH = "/health/system"


@pytest.fixture
def seen(monkeypatch):
    """What the next look sees."""
    snapshots = [a_snapshot()]
    monkeypatch.setattr("detection.health.take", lambda: snapshots[0])
    return snapshots


def found(client: Client, **more):
    return client.get(PATH, headers={"accept": "application/json"}, **more)


def test_the_page_shows_who_works_and_what_there_is_to_do(operator, seen):
    page = operator.get(PATH)
    assert page.status_code == 200
    assert "no-store" in page.headers["Cache-Control"]
    for words in (
        "All is well", "analyse@here", "286.1\xa0MB", "bulk-chunks", "2&nbsp;s ago", "75 s", "cars", "abababababab",
        "4 failed analyses", "1 notification", "2 ok, 1 paused", "9.3\xa0GB",
        "Nightjar 1.2, Python 3.12.7, PostgreSQL 15.6",
    ):  # fmt: skip
        assert words in page.text, words


def test_the_page_leads_an_operator_to_flower(operator, seen):
    assert 'href="/flower/"' in operator.get(PATH).text


def test_the_json_is_never_kept_either(operator, seen):
    answer = found(operator)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert "no-store" in answer.headers["Cache-Control"]


def test_the_json_says_the_same_as_the_page(operator, seen):
    seen[0] = a_snapshot({"broker": "The broker cannot be reached."})
    answer = found(operator)
    body = answer.json()
    assert (answer.status_code, body["state"]) == (200, "degraded")
    assert body["reasons"] == [{"state": "degraded", "sentence": "The broker cannot be reached."}]
    assert body["software"]["database"] == "PostgreSQL 15.6"
    assert body["records"]["processes"][0]["name"] == "beat@here"
    assert body["records"]["lanes"][0] == {
        "lane": "interactive", "kind": "analysis", "waiting": 3, "running": 1, "oldest_age_s": 75.0,
    }  # fmt: skip
    assert operator.get(f"{PATH}?format=json").json() == body
    page = operator.get(PATH).text
    assert "The broker cannot be reached." in page
    assert "It works, with less than all of it" in page


def test_a_script_sees_by_the_status_that_it_fails(operator, seen):
    seen[0] = a_snapshot({"storage": "The storage cannot be written to (read-only)."})
    assert found(operator).status_code == 503
    page = operator.get(PATH)
    assert page.status_code == 200, "a browser shows it to a person"
    assert "It does not work as it should" in page.text


def test_what_could_not_be_read_is_not_shown_as_nothing_there(operator, seen):
    seen[0] = a_snapshot({"records": "The records cannot be read.", "queues": "Not told."})
    assert found(operator).json()["records"] is None
    page = operator.get(PATH).text
    assert "what works and what waits is not known" in page
    assert "0 failed" not in page


def test_a_process_that_is_silent_or_of_another_version_is_seen(operator, seen):
    processes = (replace(ALL[0], age_s=400.0), replace(ALL[1], version="1.1", has_broker=False), *ALL[2:])
    seen[0] = a_snapshot(processes=processes)
    page = operator.get(PATH).text
    assert "silent for 6 min" in page
    assert "the site has another" in page
    assert "without the broker" in page


def test_those_who_may_find_it_in_the_navigation(visit: Visit, seen):
    assert f'href="{PATH}"' in visit("operator").get("/media/").text
    assert f'href="{PATH}"' not in visit("reviewer").get("/media/").text


def test_others_are_told_whom_to_ask(viewer, seen):
    answer = found(viewer)
    assert answer.status_code == 403
    assert "may not see the system" in json.dumps(answer.json())


def test_it_asks_for_itself_again_as_a_live_part(operator, seen):
    page = operator.get(PATH).text
    assert f'hx-get="{PATH}" hx-trigger="every 5s" hx-select="#system"' in page
    assert "<script>" not in page
    assert "style=" not in page

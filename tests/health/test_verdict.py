"""How the system is judged, from what was seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from detection.health import State, judge
from detection.health.roles import ALL_QUEUES
from tests.health.seen import ALL, a_snapshot, without


def sentences(snapshot) -> list[str]:
    return [reason.sentence for reason in judge(snapshot).reasons]


def test_all_well_is_ok_with_no_reasons():
    verdict = judge(a_snapshot())
    assert (verdict.state, verdict.reasons) == (State.OK, ())


@pytest.mark.parametrize(
    ("probe", "state"),
    [
        ("database", State.FAILING),
        ("migrations", State.FAILING),
        ("storage", State.FAILING),
        ("records", State.FAILING),
        ("broker", State.DEGRADED),
        ("disk", State.DEGRADED),
    ],
)
def test_what_users_were_promised_decides_how_bad_it_is(probe, state):
    verdict = judge(a_snapshot({probe: "It is away."}))
    assert verdict.state == state
    assert [reason.sentence for reason in verdict.reasons] == ["It is away."]


def test_one_cause_is_one_reason():
    away = {"database": "The database is away.", "migrations": "Not known.", "records": "Not known."}
    assert sentences(a_snapshot(away)) == ["The database is away."]
    assert sentences(a_snapshot({"broker": "The broker is away.", "queues": "Not told."})) == ["The broker is away."]


def test_the_worst_reason_counts():
    assert judge(a_snapshot({"broker": "Away.", "storage": "Away."})).state == State.FAILING


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("analyse", "No worker analyses"),
        ("proxy", "No worker makes copies"),
        ("beat", "Beat is silent"),
    ],
)
def test_work_that_nobody_does_is_said(gone, words):
    (sentence,) = sentences(a_snapshot(processes=without(gone)))
    assert sentence.startswith(words)
    assert judge(a_snapshot(processes=without(gone))).state == State.DEGRADED


def test_without_the_grabber_both_cameras_and_the_sweep_are_missed():
    assert [sentence.split(":")[0] for sentence in sentences(a_snapshot(processes=without("grab", "probe")))] == [
        "No worker takes pictures from cameras",
        "No worker asks cameras that are in trouble",
        "No worker sends notifications",
        "No worker sweeps",
    ]


def test_without_cameras_in_service_nobody_need_ask_them():
    only_paused = {"ok": 0, "disabled": 3}
    assert sentences(a_snapshot(processes=without("probe"), cameras=only_paused)) == []


def test_a_process_that_is_silent_does_no_work():
    silent = tuple(replace(one, age_s=15.1) if one.name == "analyse@here" else one for one in ALL)
    assert sentences(a_snapshot(processes=silent)) == [
        "No worker analyses: what comes in is kept, and is analysed when one is back.",
        "analyse@here has been silent for 15 s: look at its log, and start it again.",
    ]


def test_one_that_is_silent_beside_one_that_works_is_said_and_its_work_is_not_missed():
    second = replace(ALL[1], name="analyse@there", age_s=200.0)
    (sentence,) = sentences(a_snapshot(processes=(*ALL, second)))
    assert sentence.startswith("analyse@there has been silent for 200 s")


def test_a_worker_without_the_broker_is_said():
    cut_off = tuple(replace(one, has_broker=one.kind == "beat") for one in ALL[:2]) + ALL[2:]
    assert sentences(a_snapshot(processes=cut_off)) == ["analyse@here cannot reach the broker."]


def test_without_an_active_model_nothing_can_be_analysed():
    assert sentences(a_snapshot(model="")) == ["No model is active, so nothing can be analysed: activate one."]


def test_every_queue_of_the_settings_is_somebodys_work_and_is_served_in_the_procfile():
    routed = {route["queue"] for route in settings.CELERY["task_routes"].values()}
    routed |= {f"bulk-{queue}" for queue in ("analyse", "chunks", "finish")} | {"again", "probe"}
    assert routed == set(ALL_QUEUES)
    served: set[str] = set()
    for line in (Path(settings.BASE_DIR) / "Procfile").read_text().splitlines():
        words = line.split()
        if "-Q" in words:
            served |= set(words[words.index("-Q") + 1].split(","))
    assert served == set(ALL_QUEUES)

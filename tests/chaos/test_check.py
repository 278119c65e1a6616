"""The proof can fail: each kind of loss, planted into records that are otherwise as they should be, is found."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.chaos.check import Copy, Expected, Findings, Records, Result, check, comparable, missing_kinds
from tests.chaos.report import Outcome, block
from tests.chaos.watch import Wait

LOST_SENTENCE = "Its worker process was lost three times over it."


def exported(score: float = 0.9, number: int = 1) -> dict:
    return {
        "media": {"path": "a.jpg", "sha256": "aa", "kind": "image"},
        "analysis": {"id": 7, "state": "done", "worker": "vm:1", "attempts": 1, "wall_s": 0.3, "frames_read": 1},
        "sightings": [{"id": number, "label": "car", "score": score, "path": [[0.0, 1.0, 2.0, 3.0, 4.0, score]]}],
    }


def result(sha256: str, **facts) -> Result:
    usual = {"state": "done", "is_current": True, "attempts": 1, "lapses": 0, "error_kind": "", "error": ""}
    return Result(sha256=sha256, exported=comparable(exported()), **{**usual, **facts})


HEALTHY = result("aa")
SPOILT = result("bb", state="failed", is_current=False, attempts=3, error_kind="worker_lost", error=LOST_SENTENCE)
COPY_OF_POISON = Copy("cc", "failed", "worker_lost", LOST_SENTENCE, 3)
RECORDS = Records(
    media=("aa", "bb", "cc"),
    results=(HEALTHY, SPOILT, result("cc")),
    copies=(Copy("aa", "done", "", "", 1), COPY_OF_POISON),
    named=frozenset({"aa/media.jpg"}),
    stored=frozenset({"aa/media.jpg", "aa/late.jpg"}),
    on_record=frozenset({"aa/late.jpg"}),
)
EXPECTED = Expected(
    accepted=frozenset({"aa", "bb", "cc"}),
    spoilt={"bb": "crash"},
    spoilt_copies={"cc": "crash-copy"},
    reference={"aa": comparable(exported()), "cc": comparable(exported())},
)


def found_in(**changes) -> dict[str, list[str]]:
    """The findings, without those that are empty, in records with these changes."""
    return {what: lines for what, lines in check(EXPECTED, replace(RECORDS, **changes)).all().items() if lines}


def test_records_as_they_should_be_have_no_findings():
    assert found_in() == {}


def test_a_media_that_was_accepted_and_is_not_there_is_lost():
    assert list(found_in(media=("bb", "cc"))) == ["lost"]


def test_a_media_without_an_analysis_is_lost():
    assert list(found_in(results=(SPOILT, result("cc")))) == ["lost"]


@pytest.mark.parametrize("state", ["queued", "running", "cancelled"])
@pytest.mark.parametrize("which", [HEALTHY, SPOILT])
def test_an_analysis_that_is_not_over_in_the_end_is_lost(which, state):
    others = [each for each in RECORDS.results if each is not which]
    assert list(found_in(results=(*others, replace(which, state=state)))) == ["lost"]


def test_a_result_that_nobody_is_shown_is_lost():
    assert list(found_in(results=(replace(HEALTHY, is_current=False), SPOILT, result("cc")))) == ["lost"]


def test_two_media_of_the_same_bytes_are_doubled():
    assert list(found_in(media=("aa", "aa", "bb", "cc"))) == ["doubled"]


def test_two_analyses_of_a_media_are_doubled():
    assert list(found_in(results=(*RECORDS.results, HEALTHY))) == ["doubled"]


def test_another_score_in_the_last_digit_differs():
    other = replace(HEALTHY, exported=comparable(exported(score=0.9001)))
    found = found_in(results=(other, SPOILT, result("cc")))
    assert list(found) == ["differing"]
    assert "0.9001" in found["differing"][0]


def test_another_number_of_a_sighting_differs():
    other = replace(HEALTHY, exported=comparable(exported(number=2)))
    assert list(found_in(results=(other, SPOILT, result("cc")))) == ["differing"]


def test_a_sighting_less_differs():
    other = replace(HEALTHY, exported=comparable(exported() | {"sightings": []}))
    assert list(found_in(results=(other, SPOILT, result("cc")))) == ["differing"]


def test_a_result_that_cannot_be_compared_differs():
    findings = check(replace(EXPECTED, reference={}), RECORDS)
    assert len(findings.differing) == 2


def test_what_may_differ_does_not():
    other = exported()
    other["analysis"] |= {"id": 8, "worker": "vm:2", "attempts": 3, "wall_s": 99.0}
    other["media"]["path"] = "b.jpg"
    assert comparable(other) == comparable(exported())
    assert json.loads(comparable(other))["sightings"][0]["id"] == 1


def test_a_healthy_media_whose_analysis_failed_is_told():
    failed = replace(HEALTHY, state="failed", error_kind="storage", error="The disk is full.")
    assert list(found_in(results=(failed, SPOILT, result("cc")))) == ["healthy but failed"]


def test_a_copy_that_failed_is_told():
    copies = (Copy("aa", "failed", "storage", "The disk is full.", 3), COPY_OF_POISON)
    assert list(found_in(copies=copies)) == ["healthy but failed"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "done", "error_kind": "", "error": ""},
        {"error_kind": "storage"},
        {"error": ""},
        {"error": "WorkerLostError(signal 11)"},
        {"attempts": 1, "error": "Its worker was gone without a word 11 times; it is not tried again by itself."},
        {"attempts": 4},
    ],
)
def test_poison_must_fail_for_its_reason_and_say_it_in_words(wrong):
    assert list(found_in(results=(HEALTHY, replace(SPOILT, **wrong), result("cc")))) == ["poison not failed"]
    copies = (RECORDS.copies[0], replace(COPY_OF_POISON, **wrong))
    assert list(found_in(copies=copies)) == ["poison not failed"]


def test_files_and_rows_that_do_not_belong_together_are_found():
    assert found_in(stored=frozenset({"aa/media.jpg", "incoming/upload-x"})) == {
        "files without row": ["incoming/upload-x"]
    }
    assert found_in(stored=frozenset({"aa/late.jpg"})) == {"rows without file": ["aa/media.jpg"]}
    # What a row says is to be cleared away is no orphan, as long as its time has not come.
    assert found_in(on_record=frozenset()) == {"files without row": ["aa/late.jpg"]}


@pytest.mark.parametrize("when", ["on_record", "overdue"])
def test_a_file_that_a_row_names_and_that_is_to_be_cleared_away_is_found(when):
    marked = frozenset({"aa/media.jpg", "aa/late.jpg"})
    found = found_in(**{"on_record": RECORDS.on_record, when: marked})
    assert found == {"named but loose": ["aa/media.jpg"]}


# ---- whether a run proves anything


def outcome(**changes) -> Outcome:
    usual = {
        "stack": "SQLite",
        "seed": 1,
        "media": 3,
        "accepted": 3,
        "poison": {"crash": "failed"},
        "injected": {"kill -9 of web": 1},
        "missing": (),
        "findings": Findings(),
        "waits": (Wait("kill -9 of analyse", "chunk 1", 11.0, ()),),
        "recovered_s": 12.0,
        "left": {},
        "most_attempts": 2,
        "most_lapses": 1,
        "sightings": 30,
    }
    return Outcome(**{**usual, **changes})


def test_a_run_in_which_all_held_has_no_failures():
    assert outcome().failures == []
    assert "FAILED" not in block(outcome())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"injected": {}}, "no fault was injected"),
        ({"missing": ["the broker emptied"]}, "never injected: the broker emptied"),
        ({"findings": Findings(lost=["aa"])}, "1 lost"),
        ({"findings": Findings(doubled=["aa"])}, "1 doubled"),
        ({"findings": Findings(differing=["aa"])}, "1 differing"),
        ({"findings": Findings(files_without_row=["x", "y"])}, "2 files without row"),
        ({"findings": Findings(rows_without_file=["x"])}, "1 rows without file"),
        ({"findings": Findings(named_but_loose=["x"])}, "1 named but loose"),
        ({"findings": Findings(healthy_but_failed=["x"])}, "1 healthy but failed"),
        ({"findings": Findings(poison_not_failed=["x"])}, "1 poison not failed"),
        ({"accepted": 2}, "1 media were never accepted"),
        ({"recovered_s": None, "left": {"chunks": 2}}, "2 chunks"),
        ({"waits": ()}, "nobody knows"),
        ({"waits": (Wait("kill -9 of analyse", "chunk 1", 15.0, ()),)}, "15.0 s after kill -9 of analyse"),
        (
            {"is_crowded": True, "waits": (Wait("kill -9 of analyse", "chunk 1", 60.0, ()),)},
            "60.0 s after kill -9 of analyse",
        ),
        ({"complaints": ["a good file was refused"]}, "a good file was refused"),
        ({"sightings": 0}, "no sightings"),
    ],
)
def test_a_run_that_proves_the_contrary_or_nothing_fails(changes, word):
    failed = outcome(**changes)
    assert any(word in failure for failure in failed.failures)
    assert "FAILED" in block(failed)


def test_a_wait_during_another_fault_does_not_count_against_the_limit_but_is_told():
    held_up = Wait("kill -9 of analyse", "chunk 2", 40.0, ("the broker killed",))
    both = outcome(waits=(*outcome().waits, held_up))
    assert both.failures == []
    assert "40.0 s" in block(both)
    assert outcome(waits=(held_up,)).failures  # with no other, nobody knows how long killed work waits


def test_a_stack_that_shares_the_processors_has_some_seconds_more_and_that_is_told():
    waits = (Wait("kill -9 of analyse", "chunk 1", 16.0, ()),)
    crowded = outcome(waits=waits, is_crowded=True)
    assert crowded.failures == []
    assert "allowed: 60 s (in the short form" in block(crowded)
    assert outcome(waits=waits).failures


def test_kinds_that_were_never_injected_are_named():
    assert missing_kinds(["a", "b", "c"], {"a": 2, "b": 0}) == ["b", "c"]
    assert missing_kinds(["a"], {"a": 1}) == []

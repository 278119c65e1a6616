"""`manage.py prune`: a dry run unless told otherwise."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone

from detection.models import Analysis, Camera, Capture, LooseFile, Media
from detection.models import pruning as pruning_module
from tests.cast import a_camera, a_capture, a_done_analysis, a_running_analysis
from tests.models.aged import old_media

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rules(settings, monkeypatch):
    settings.RETAIN_DAYS = settings.RETAIN_BYTES = settings.RETAIN_CAPTURES_DAYS = 0
    monkeypatch.setattr(pruning_module, "LONGEST_REST_S", 0)


def run(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("prune", *arguments, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def gate(settings) -> Camera:
    """A camera with a rule of its own, and media of which two go by it and one by the rule for all."""
    settings.RETAIN_DAYS = 30
    camera = a_camera("Gate", retain_days=7)
    a_done_analysis(old_media(days=8, size=1_000_000, camera=camera))
    failed = a_running_analysis(old_media(days=9, size=2_000_000, camera=camera))
    Analysis.objects.filter(pk=failed.pk).update(state="failed", finished_at=timezone.now())
    old_media(days=31, size=500)
    old_media(days=1, size=999)
    old_media(days=99, size=7000).set_kept(True)
    return camera


def stored() -> list[object]:
    rows = (Media, Analysis, Capture, LooseFile)
    return [list(kind.objects.order_by("pk").values()) for kind in rows]


def test_a_dry_run_shows_what_would_go_and_changes_nothing(gate):
    before = stored()
    out, err = run()
    assert stored() == before
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("This would go:\n")
    assert lines[1][:2] == ["camera", "rule"]
    table = {line.split("  ")[0]: line for line in out.splitlines()[1:]}
    assert table["Gate"].split()[7:10] == ["2", "3", "MB"]
    assert "its camera’s: older than 7 days" in table["Gate"]
    assert table["Gate"].split()[-3:] == ["1", "1", "0"]
    assert table["no camera"].split()[-3:] == ["0", "0", "1"]
    assert "for all: older than 30 days" in table["no camera"]
    assert table["in all"].split()[2:5] == ["3", "3", "MB"]
    assert table["in all"].split()[-3:] == ["1", "1", "1"]
    assert "Kept, whatever the rules say: 1 media, 7 kB." in out
    assert "Nothing is changed." in out
    assert err == ""


def test_the_columns_stand_below_each_other(gate):
    out, _ = run()
    head, *rows = out.splitlines()[1:5]
    assert {len(row) for row in (head, *rows)} == {len(head)}
    assert all(row.index("older") > head.index("rule") for row in rows[:2])


def test_with_delete_it_goes(gate):
    listed = json.loads(run("--json")[0])
    out, _ = run("--delete")
    assert Media.objects.count() == 2
    assert out.startswith("This is removed:\n")
    assert "Nothing is changed" not in out
    removed = [line for line in out.splitlines() if line.startswith("in all")]
    assert removed[0].split()[2] == str(listed["in_all"]["media"]) == "3"
    assert run("--delete")[0].startswith("No media is to go by the rules.")


def test_as_json_it_says_the_same(gate):
    facts = json.loads(run("--json")[0])
    assert facts["dry_run"] is True
    of_gate = next(part for part in facts["parts"] if part["camera"])
    assert of_gate["camera"] == {"id": gate.pk, "name": "Gate"}
    assert of_gate["rule"] == "its camera’s: older than 7 days"
    assert (of_gate["media"], of_gate["bytes"], of_gate["to_review"], of_gate["failed"]) == (2, 3_000_000, 1, 1)
    assert of_gate["oldest"] < of_gate["newest"]
    assert facts["in_all"]["media"] == 3
    assert facts["kept"] == {"media": 1, "bytes": 7000}
    assert (facts["captures"], facts["warnings"]) == (0, [])
    assert json.loads(run("--json", "--delete")[0])["dry_run"] is False
    assert json.loads(run("--json")[0])["in_all"] == {
        "media": 0,
        "bytes": 0,
        "oldest": None,
        "newest": None,
        "to_review": 0,
        "failed": 0,
        "not_looked_at": 0,
    }


def test_without_a_rule_it_says_how_to_set_one():
    old_media(days=9999)
    out, _ = run("--delete")
    assert out.startswith("No rule is set, so no media is removed by itself.")
    assert Media.objects.count() == 1


def test_a_limit_that_cannot_be_kept_is_a_warning(settings):
    settings.RETAIN_BYTES = 100
    old_media(size=150).set_kept(True)
    out, err = run()
    assert "No media is to go by the rules." in out
    assert "All media together take 50 bytes more than the 100 bytes that RETAIN_BYTES allows" in err
    assert json.loads(run("--json")[0])["warnings"][0] in err.replace("\n", " ")


def test_old_records_of_captures_are_counted_and_removed(settings):
    settings.RETAIN_CAPTURES_DAYS = 40
    a_capture(at=timezone.now() - timedelta(days=41))
    assert "Records of captures older than 40 days: 1 would go." in run()[0]
    assert Capture.objects.count() == 1
    assert "Records of captures older than 40 days: 1 are removed." in run("--delete")[0]
    assert not Capture.objects.exists()

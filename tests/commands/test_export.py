"""`manage.py export` prints what `manage.py analyse --json` would, of what is stored."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from detection.models import Analysis, Model
from tests.cast import a_done_analysis, a_media, a_model, a_track, a_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def done():
    """A finished analysis of two tracks, the first of which was relabelled."""
    a_model().activate()
    row = a_done_analysis(tracks=[a_track("car"), a_track("person", x=400)])
    row.sightings.get(number=1).judge("relabelled", a_user("reviewer"), "van")
    return Analysis.objects.get(pk=row.pk)


def lines(*words):
    out = StringIO()
    call_command("export", *words, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_result_is_printed_with_where_it_came_from_and_what_people_said(done):
    (result,) = lines()
    assert result["media"] == {
        "path": "yard.mp4",
        "sha256": done.media.sha256,
        "kind": "clip",
        "width": done.media.width,
        "height": done.media.height,
        "duration_s": done.media.duration_s,
    }
    assert result["analysis"]["id"] == done.pk
    assert result["analysis"]["model"] == "cars"
    assert result["analysis"]["params"] == done.params
    assert [(s["id"], s["label"], s["verdict"]) for s in result["sightings"]] == [
        (1, "car", {"kind": "relabelled", "label": "van"}),
        (2, "person", None),
    ]
    assert len(result["sightings"][0]["path"]) == 5
    assert len(result["sightings"][0]["path"][0]) == 6


def test_what_failed_says_why_and_is_printed_where_it_is_named(done):
    failed = Analysis.request(a_media(b"another"), model=Model.active())
    Analysis.claim(failed.pk, "w").fail("unreadable", "It is damaged.")
    assert [line["analysis"]["id"] for line in lines()] == [done.pk]
    (result,) = lines(str(failed.pk))
    assert (result["analysis"]["state"], result["analysis"]["error"]) == ("failed", "It is damaged.")
    assert result["sightings"] == []


def test_a_number_that_is_not_there_is_told(done):
    with pytest.raises(CommandError, match="There is no analysis 999"):
        call_command("export", "999")

import pytest

from detection.models import EarlierResult, Sighting, Verdict
from detection.models import verdict as verdict_module
from tests.cast import a_done_analysis, a_media, a_model, a_track, a_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def sighting():
    return a_done_analysis().sightings.get()


def fresh(sighting):
    return Sighting.objects.get(pk=sighting.pk)


def test_a_verdict_says_who_and_what_and_where(sighting):
    user = a_user("reviewer")
    verdict = sighting.judge("confirmed", user)
    assert (verdict.user, verdict.kind, verdict.label) == (user, "confirmed", "car")
    assert verdict.box == sighting.best_box
    assert fresh(sighting).review == "confirmed"


def test_a_new_label_is_shown_and_the_models_label_kept(sighting):
    sighting.judge("relabelled", None, label=" van ")
    assert (fresh(sighting).shown_label, fresh(sighting).label) == ("van", "car")


def test_a_relabelling_needs_a_label(sighting):
    with pytest.raises(ValueError, match="label"):
        sighting.judge("relabelled", None, label="  ")
    assert Verdict.objects.count() == 0


def test_undo_brings_back_what_was_before_step_by_step(sighting):
    sighting.judge("confirmed", None)
    sighting.judge("relabelled", None, label="van")
    sighting.judge("rejected", None)
    seen = []
    while sighting.undo(None):
        seen.append((fresh(sighting).review, fresh(sighting).shown_label))
    assert seen == [("relabelled", "van"), ("confirmed", "car"), ("", "car")]


def test_verdicts_are_only_ever_added(sighting):
    sighting.judge("confirmed", None)
    sighting.undo(None)
    sighting.judge("rejected", None)
    assert [verdict.kind for verdict in Verdict.objects.order_by("pk")] == ["confirmed", "withdrawn", "rejected"]


def test_a_verdict_outlives_a_new_model():
    media, user = a_media(), a_user("reviewer")
    old = a_done_analysis(media, [a_track("car", 1.0, 100), a_track("person", 1.0, 400), a_track("car", 6.0, 100)])
    first, second, third = old.sightings.order_by("number")
    first.judge("rejected", user)
    second.judge("confirmed", user)
    third.judge("relabelled", user, label="van")
    # The new model sees the same three a little off, in another order, and one more.
    tracks = [a_track("van", 6.0, 103), a_track("person", 1.0, 404), a_track("car", 1.0, 98), a_track("car", 3.0, 100)]
    new = a_done_analysis(media, tracks, model=a_model())
    said = {s.number: (s.review, s.shown_label) for s in new.sightings.select_related("verdict")}
    assert said == {1: ("relabelled", "van"), 2: ("confirmed", "person"), 3: ("rejected", "car"), 4: ("", "car")}
    carried = new.sightings.get(number=3).verdict
    assert (carried.carried_from, carried.user) == (first.verdicts.get(), user)


def test_a_verdict_is_not_carried_to_something_else():
    media = a_media()
    old = a_done_analysis(media, [a_track("car", 1.0, 100)])
    old.sightings.get().judge("confirmed", None)
    tracks = [a_track("car", 1.0, 300), a_track("person", 1.0, 100), a_track("car", 4.0, 100)]
    new = a_done_analysis(media, tracks)
    assert {s.review for s in new.sightings.all()} == {""}


def test_a_verdict_outlives_a_run_that_missed_the_object():
    media, user = a_media(), a_user("reviewer")
    a_done_analysis(media).sightings.get().judge("confirmed", user)
    a_done_analysis(media, [])
    assert a_done_analysis(media).sightings.get().review == "confirmed"


def test_what_was_said_last_has_the_say():
    media = a_media()
    a_done_analysis(media).sightings.get().judge("confirmed", None)
    second = a_done_analysis(media).sightings.get()
    second.judge("rejected", None)
    assert a_done_analysis(media).sightings.get().review == "rejected"
    third = Sighting.objects.get(analysis__is_current=True)
    third.undo(None)
    assert a_done_analysis(media).sightings.get().review == ""


def test_a_verdict_given_while_the_next_run_finishes_is_carried_or_refused(monkeypatch):
    media = a_media()
    old = a_done_analysis(media).sightings.get()
    looked_up = verdict_module.earlier_verdicts

    def judged_right_after_the_lookup(analysis, sightings):
        found = looked_up(analysis, sightings)
        if not Verdict.objects.exists():
            old.judge("confirmed", None)
        return found

    monkeypatch.setattr(verdict_module, "earlier_verdicts", judged_right_after_the_lookup)
    assert a_done_analysis(media).sightings.get().review == "confirmed"
    with pytest.raises(EarlierResult):
        old.judge("rejected", None)
    with pytest.raises(EarlierResult):
        old.undo(None)


def test_an_undone_verdict_is_not_carried():
    media = a_media()
    sighting = a_done_analysis(media).sightings.get()
    sighting.judge("confirmed", None)
    sighting.undo(None)
    assert a_done_analysis(media).sightings.get().review == ""

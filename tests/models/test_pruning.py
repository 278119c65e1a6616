"""Removing what is to go: one by one, never what somebody has taken up since it was chosen."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import IntegrityError, OperationalError, transaction
from django.utils import timezone

from detection.models import Analysis, Camera, Capture, LooseFile, Media, Proxy, Sighting
from detection.models import pruning as pruning_module
from detection.models.clock import now
from detection.models.coverage import Record, day_borders, month_borders
from detection.models.pruning import captures_to_go, prune, remove
from detection.models.retention import Going, Plan
from tests.cast import NOON, a_camera, a_capture, a_done_analysis, a_running_analysis
from tests.databases import Beside, on_postgresql
from tests.models.aged import going, old_media

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _rules(settings, monkeypatch):
    settings.RETAIN_DAYS, settings.RETAIN_BYTES, settings.RETAIN_CAPTURES_DAYS = 30, 0, 0
    monkeypatch.setattr(pruning_module, "LONGEST_REST_S", 0)


def chosen(media: Media) -> Going:
    return next(each for each in Plan(now()).going() if each.pk == media.pk)


# A run


def test_it_removes_rows_and_files_and_nothing_else(django_capture_on_commit_callbacks):
    old = a_done_analysis(old_media(days=31, size=70)).media
    stays, kept = old_media(days=29), old_media(days=99)
    kept.set_kept(True)
    with django_capture_on_commit_callbacks(execute=True):
        outcome = prune()
    assert set(Media.objects.all()) == {stays, kept}
    assert not Analysis.objects.exists()
    assert not default_storage.exists(old.file.name)
    assert default_storage.exists(stays.file.name)
    assert not LooseFile.objects.exists()
    total = outcome.summary.total
    assert (total.media, total.bytes, total.to_review, outcome.is_done) == (1, 70, 1, True)
    assert outcome.words == (
        "1 media of 70 bytes (1 of them not reviewed, 0 whose analysis had failed, 0 never analysed) and 0 records of "
        "captures"
    )
    with django_capture_on_commit_callbacks(execute=True):
        assert prune().summary.total.media == 0


def test_what_is_listed_is_what_goes(settings):
    settings.RETAIN_BYTES = 200
    camera = a_camera(retain_days=7, retain_bytes=100)
    for days in (40, 31, 9, 8, 6, 5, 2):
        old_media(days=days, size=50, camera=camera)
        old_media(days=days, size=50)
    old_media(days=50, size=10).set_kept(True)
    listed = {media.pk for media in going()}
    before = set(Media.objects.values_list("pk", flat=True))
    prune()
    assert before - set(Media.objects.values_list("pk", flat=True)) == listed
    assert going() == []


def test_a_run_that_is_stopped_has_removed_the_oldest_and_the_next_goes_on(monkeypatch):
    monkeypatch.setattr(pruning_module, "PAGE", 2)
    media = [old_media(days=40 - n) for n in range(5)]
    left = [2, 0]
    outcome = prune(lambda: left.append(left[-1] + 1) or left[-1] < 3)
    assert list(Media.objects.order_by("pk")) == media[3:]
    assert (outcome.summary.total.media, outcome.is_done) == (3, False)
    outcome = prune()
    assert not Media.objects.exists()
    assert (outcome.summary.total.media, outcome.is_done) == (2, True)


def test_a_run_that_has_no_time_left_gets_on_even_so():
    old_media(days=40), old_media(days=39)
    assert prune(lambda: False).summary.total.media == 1


def test_a_run_that_dies_has_removed_whole_media_only(monkeypatch):
    media = [old_media(days=40 - n) for n in range(3)]
    names = [each.file.name for each in media]
    removed = Media.remove
    calls = []

    def dies_in_the_middle(media: Media) -> None:
        removed(media)
        calls.append(media)
        if len(calls) == 2:
            raise SystemExit

    monkeypatch.setattr(Media, "remove", dies_in_the_middle)
    with pytest.raises(SystemExit):
        prune()
    assert list(Media.objects.order_by("pk")) == media[1:]
    assert list(LooseFile.objects.filter(name__in=names).values_list("name", flat=True)) == names[:1]
    assert default_storage.exists(names[1])


@pytest.mark.parametrize("error", [IntegrityError, OperationalError])
def test_what_cannot_be_removed_now_keeps_no_other_from_it(monkeypatch, error, caplog):
    first, second = old_media(days=40), old_media(days=39)
    removes = pruning_module.remove

    def fails_on_the_first(each: Going) -> bool:
        if each.pk == first.pk:
            raise error("in use")
        return removes(each)

    monkeypatch.setattr(pruning_module, "remove", fails_on_the_first)
    outcome = prune()
    assert list(Media.objects.all()) == [first]
    assert outcome.is_done
    assert outcome.summary.total.media == 1
    assert f"media {first.pk} is not removed now" in caplog.text
    assert second not in Media.objects.all()


def test_others_have_their_turn_in_between(monkeypatch):
    monkeypatch.setattr(pruning_module, "LONGEST_REST_S", 1.0)
    rests = []
    monkeypatch.setattr(pruning_module.time, "sleep", rests.append)
    monkeypatch.setattr(pruning_module.time, "monotonic", iter([0, 0.25, 10, 99]).__next__)
    old_media(days=40), old_media(days=39)
    prune()
    assert rests == [0.25, 1.0], "as long as it took, a second at most"


# What happens between choosing and removing


def keeps(media: Media) -> None:
    media.set_kept(True)


def judges(media: Media) -> None:
    media.sightings.get().judge("confirmed", None, keeps_media=True)


def tries_again(media: Media) -> None:
    assert media.analyses.get(state="failed").retry()


def makes_the_copy_again(media: Media) -> None:
    assert media.proxy.retry()


def changes_the_cameras_rule(media: Media) -> None:
    Camera.objects.filter(pk=media.camera_id).update(retain_days=60)


def moves_it_to_another_camera(media: Media) -> None:
    Media.objects.filter(pk=media.pk).update(camera=a_camera())


def brings_it_in_again(media: Media) -> None:
    assert media.came_in_again()


ACTS = [
    keeps,
    judges,
    tries_again,
    makes_the_copy_again,
    changes_the_cameras_rule,
    moves_it_to_another_camera,
    brings_it_in_again,
]


def taken_up() -> Media:
    """With everything that somebody may take it up by."""
    media = old_media(days=8, camera=a_camera(retain_days=7))
    a_done_analysis(media)
    Analysis.objects.filter(pk=a_running_analysis(media).pk).update(state="failed", finished_at=NOON)
    Proxy.objects.create(media=media, state="failed", finished_at=NOON)
    return media


@pytest.mark.parametrize("act", ACTS)
def test_what_is_taken_up_after_it_was_chosen_stays(act):
    media = taken_up()
    choice = chosen(media)
    act(media)
    assert not remove(choice)
    assert Media.objects.filter(pk=media.pk).exists()


def test_what_was_chosen_for_its_size_and_comes_in_again_stays(settings):
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 0, 1
    media = old_media(days=8, size=2)
    a_done_analysis(media)
    choice = chosen(media)
    brings_it_in_again(media)
    assert not remove(choice)


def test_what_nobody_takes_up_goes():
    media = taken_up()
    choice = chosen(media)
    assert remove(choice)
    assert not remove(choice), "somebody else was quicker"
    assert not Media.objects.exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@pytest.mark.parametrize("act", [keeps, judges, tries_again, makes_the_copy_again, brings_it_in_again])
@on_postgresql
def test_who_takes_it_up_in_that_very_moment_is_waited_for(act):
    """The removal waits for their lock, and must see what they did; PostgreSQL does not look again by itself."""
    media = taken_up()
    choice = chosen(media)
    with transaction.atomic():
        act(media)
        removal = Beside(lambda: remove(choice))
        removal.wait_until_it_waits()
    assert removal.join() is False
    assert Media.objects.filter(pk=media.pk).exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_who_comes_too_late_is_told_so():
    for act, wanted in [
        (lambda media: media.set_kept(True), False),
        (lambda media: media.sightings.get().judge("confirmed", None), Sighting.DoesNotExist),
        (lambda media: media.analyses.get(state="failed").retry(), False),
    ]:
        media = taken_up()
        choice = chosen(media)
        with transaction.atomic():
            assert remove(choice)
            late = Beside(lambda act=act, media=media: act(media))
            late.wait_until_it_waits()
        came_of_it = late.join()
        assert came_of_it is wanted or isinstance(came_of_it, wanted or ())
    assert not Media.objects.exists()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
@on_postgresql
def test_two_runs_at_once_remove_no_more_than_one(settings):
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 0, 200
    media = [old_media(days=90 - n, size=10) for n in range(60)]
    other = Beside(prune)
    one, two = prune(), other.join()
    assert isinstance(two, pruning_module.Outcome), two
    assert one.summary.total.media + two.summary.total.media == 40
    assert list(Media.objects.order_by("pk")) == media[40:]


def test_what_goes_by_other_hands_meanwhile_is_not_made_up_for(settings, monkeypatch):
    """Another run removes the oldest right after the sum was read: the next oldest must not go in their stead."""
    settings.RETAIN_DAYS, settings.RETAIN_BYTES = 0, 100
    media = [old_media(days=9 - n, size=40) for n in range(4)]
    reads_the_sum = Plan._total

    def removed_right_after(camera_id: int | None) -> int:
        total = reads_the_sum(camera_id)
        Media.objects.filter(pk__in=[each.pk for each in media[:2]]).delete()
        return total

    monkeypatch.setattr(Plan, "_total", staticmethod(removed_right_after))
    assert {each.pk for each in Plan(now()).going()} == {each.pk for each in media[:2]}
    prune()
    assert list(Media.objects.order_by("pk")) == media[2:]


# The records of captures


@pytest.fixture
def days(settings) -> int:
    settings.RETAIN_CAPTURES_DAYS = 40
    return 40


def past(days: float):
    return timezone.now() - timedelta(days=days)


def test_without_a_rule_records_of_captures_stay():
    a_capture(at=past(9000))
    assert captures_to_go() == 0
    prune()
    assert Capture.objects.count() == 1


def test_old_records_of_captures_go_camera_by_camera(days, monkeypatch):
    monkeypatch.setattr(pruning_module, "CAPTURES_AT_ONCE", 2)
    gate, yard = a_camera("Gate"), a_camera("Yard")
    for camera in (gate, yard):
        for n, state in enumerate(("grabbed", "failed", "missed")):
            a_capture(camera, state, at=past(41 + n))
    stays = [a_capture(gate, at=past(39)), a_capture(yard, "planned", at=past(50))]
    assert captures_to_go() == 6
    outcome = prune()
    assert outcome.captures == 6
    assert set(Capture.objects.all()) == set(stays)
    assert outcome.is_done


def test_a_picture_outlives_the_record_of_its_capture(days):
    media = old_media(days=1)
    a_capture(at=past(41), media=media)
    prune()
    assert list(Media.objects.all()) == [media]


def test_a_record_of_several_times_goes_with_the_last_of_them(days):
    camera = a_camera()
    reaches_in = a_capture(camera, "missed", at=past(60), last_at=past(39), times=9)
    a_capture(camera, "missed", at=past(70), last_at=past(61), times=9)
    prune()
    assert list(Capture.objects.all()) == [reaches_in]


def test_a_stopped_run_goes_on_with_the_records_too(days, monkeypatch):
    monkeypatch.setattr(pruning_module, "CAPTURES_AT_ONCE", 2)
    camera = a_camera()
    for n in range(5):
        a_capture(camera, at=past(41 + n))
    outcome = prune(lambda: False)
    assert (outcome.captures, outcome.is_done) == (2, False)
    assert prune().captures == 3


def test_what_a_cameras_page_shows_of_its_last_month_stays(settings):
    settings.RETAIN_CAPTURES_DAYS = 32  # the least there may be
    camera = a_camera()
    Camera.objects.filter(pk=camera.pk).update(next_at=None)
    camera.refresh_from_db()
    moment = timezone.now()
    borders = month_borders(moment, camera.zone)
    a_capture(camera, "missed", at=borders[0] - timedelta(days=9), last_at=borders[4], times=40)
    for border in borders[8:-1:4]:
        a_capture(camera, "failed", at=border)
    a_capture(camera, at=borders[0] - timedelta(days=11))
    a_capture(camera, at=borders[0] - timedelta(days=10))

    def shown():
        record = Record.of(camera, borders[0], borders[-1], moment)
        return record.over(borders), record.over(day_borders(moment, camera.zone))

    before = shown()
    outcome = prune()
    assert outcome.captures == 2
    assert shown() == before

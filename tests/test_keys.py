"""A key that does not fit is told before a camera is asked."""

from __future__ import annotations

import time

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError, connection

from detection.fields import Secret
from detection.keys import check_keys
from detection.models import Camera

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))

pytestmark = pytest.mark.django_db


def cameras(settings, key: str, count: int, name: str) -> None:
    settings.CAMERA_KEYS = [key]
    Camera.objects.bulk_create(
        Camera(name=f"{name} {n}", address=Secret.of(f"rtsp://u:s3cret@10.0.0.1/{n}")) for n in range(count)
    )


def test_keys_that_fit_pass(settings):
    check_keys()
    cameras(settings, OLD, 2, "yard")
    Camera.objects.create(name="without an address")
    check_keys()
    settings.CAMERA_KEYS = [NEW, OLD]
    check_keys()


def test_keys_that_do_not_fit_are_told_with_what_to_do(settings):
    cameras(settings, OLD, 3, "yard")
    cameras(settings, NEW, 2, "gate")
    before = list(Camera.objects.order_by("pk").values())
    with pytest.raises(ImproperlyConfigured, match=r"CAMERA_KEYS cannot decrypt .* 3 of 5 cameras.*back") as told:
        check_keys()
    assert not any(secret in str(told.value) for secret in (OLD, NEW, "s3cret"))
    assert list(Camera.objects.order_by("pk").values()) == before


@pytest.mark.parametrize("error", [OperationalError, ProgrammingError])
def test_it_is_quiet_where_there_is_no_table_yet(settings, error):
    def refuse(*_: object) -> None:
        raise error("no such table: detection_camera")

    with connection.execute_wrapper(refuse):
        check_keys()


def test_ten_thousand_cameras_take_a_moment(settings, django_assert_num_queries):
    cameras(settings, OLD, 10_000, "yard")
    began = time.perf_counter()
    with django_assert_num_queries(1) as asked:
        check_keys()
    assert time.perf_counter() - began < 5  # about 0.5 s
    assert "last_good_at" not in asked.captured_queries[0]["sql"].partition("FROM")[0]

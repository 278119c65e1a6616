"""`manage.py reencrypt`: a new first key, and nothing lost."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command

from detection.fields import Secret
from detection.management.commands import reencrypt as command
from detection.models import Camera

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _three_cameras(settings):
    settings.CAMERA_KEYS = [OLD]
    for name in ("gate", "roof", "yard"):
        Camera.objects.create(name=name, address=Secret.of(f"rtsp://u:s3cret@10.0.0.5/{name}"))
    Camera.objects.create(name="without an address")
    settings.CAMERA_KEYS = [NEW, OLD]


def reencrypt() -> str:
    out = StringIO()
    call_command("reencrypt", stdout=out)
    return out.getvalue()


def revealed() -> dict[str, str]:
    return {name: address.reveal() for name, address in Camera.objects.values_list("name", "address")}


def test_afterwards_the_first_key_is_enough(settings):
    before = revealed()
    assert "of 3 cameras" in reencrypt()
    settings.CAMERA_KEYS = [NEW]
    assert revealed() == before
    assert before["gate"] == "rtsp://u:s3cret@10.0.0.5/gate"


def test_it_may_be_repeated(settings):
    before = revealed()
    reencrypt()
    assert "of 3 cameras" in reencrypt()
    settings.CAMERA_KEYS = [NEW]
    assert revealed() == before


def test_it_goes_through_all_batches(settings, monkeypatch):
    monkeypatch.setattr(command, "BATCH", 2)
    assert "of 3 cameras" in reencrypt()
    settings.CAMERA_KEYS = [NEW]
    assert len(revealed()) == 4


def test_it_says_nothing_secret():
    said = reencrypt()
    assert not any(secret in said for secret in ("s3cret", OLD, NEW))


def test_where_one_cannot_be_decrypted_nothing_is_changed_and_it_is_named(settings):
    settings.CAMERA_KEYS = [Fernet.generate_key().decode()]
    Camera.objects.create(name="barn", address=Secret.of("rtsp://10.0.0.9/"))
    settings.CAMERA_KEYS = [NEW, OLD]
    before = list(Camera.objects.order_by("pk").values())
    with pytest.raises(CommandError, match=r"Nothing was changed.*\(1\): “barn”\. Put the key") as told:
        reencrypt()
    assert told.value.returncode == 1
    assert "gate" not in str(told.value)
    assert list(Camera.objects.order_by("pk").values()) == before


def test_an_edit_in_the_same_moment_is_kept(settings):
    """It was read with the old address; by the time of the UPDATE somebody has saved another one, with the old key."""
    camera = Camera.objects.get(name="gate")
    settings.CAMERA_KEYS = [OLD]
    Camera.objects.filter(pk=camera.pk).update(address=Secret.of("rtsp://10.0.0.77/edited"))
    settings.CAMERA_KEYS = [NEW, OLD]
    assert command.reencrypt(camera.pk, camera.address) is True
    settings.CAMERA_KEYS = [NEW]
    camera.refresh_from_db()
    assert camera.address.reveal() == "rtsp://10.0.0.77/edited"


def test_a_camera_that_is_removed_in_the_same_moment_stays_removed():
    camera = Camera.objects.get(name="gate")
    pk, address = camera.pk, camera.address
    camera.delete()
    assert command.reencrypt(pk, address) is False
    assert not Camera.objects.filter(pk=pk).exists()

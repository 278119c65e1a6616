"""What is encrypted at rest."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import FieldError, ValidationError
from django.db import connection, transaction
from django.forms import modelform_factory

from detection.fields import Secret, SecretField, WrongKey
from detection.models import Camera

PLAIN = "rtsp://admin:s3cret@10.0.0.5:554/Straße?x=%20"
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture(autouse=True)
def _keys(settings):
    settings.CAMERA_KEYS = [OLD]


def raw_address(camera: Camera) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT address FROM detection_camera WHERE id = %s", [camera.pk])
        return cursor.fetchone()[0]


def a_camera(address: Secret | str = "") -> Camera:
    return Camera.objects.create(name="yard", address=address)


def test_a_secret_reveals_what_was_put_into_it():
    assert Secret.of(PLAIN).reveal() == PLAIN


def test_an_empty_secret_is_falsy_and_reveals_nothing():
    assert (bool(Secret.of("")), Secret.of("").reveal(), Secret.of("").reencrypted()) == (False, "", Secret(""))
    assert Secret.of(PLAIN)


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        format,
        lambda secret: str([secret]),
        "{:>5}".format,
        "{!r}".format,
        "%s".__mod__,
        lambda secret: json.dumps([secret], default=str),
    ],
)
def test_however_it_is_shown_a_secret_is_dots(show):
    secret = Secret.of(PLAIN)
    assert "s3cret" not in show(secret)
    assert secret.ciphertext not in show(secret)
    assert "•••" in show(secret) or r"\u2022" in show(secret)


def test_neither_a_pickle_nor_a_copy_holds_the_plain_text():
    secret = Secret.of(PLAIN)
    assert b"s3cret" not in pickle.dumps(secret)
    assert pickle.loads(pickle.dumps(secret)).reveal() == PLAIN
    assert copy.deepcopy(secret) == secret


def test_two_are_equal_where_their_ciphertexts_are():
    secret = Secret.of(PLAIN)
    assert secret == Secret(secret.ciphertext)
    assert hash(secret) == hash(Secret(secret.ciphertext))
    assert secret != Secret.of(PLAIN)
    assert secret != secret.ciphertext


@pytest.mark.parametrize("strip", [str, lambda key: key.rstrip("="), lambda key: f" {key} "])
def test_a_key_may_lack_its_padding(settings, strip):
    secret = Secret.of(PLAIN)
    settings.CAMERA_KEYS = [strip(OLD)]
    assert secret.reveal() == PLAIN


def test_the_first_key_encrypts_and_all_decrypt(settings):
    old = Secret.of(PLAIN)
    settings.CAMERA_KEYS = [NEW, OLD]
    new = Secret.of(PLAIN)
    assert (old.reveal(), new.reveal()) == (PLAIN, PLAIN)
    settings.CAMERA_KEYS = [NEW]
    assert new.reveal() == PLAIN
    with pytest.raises(WrongKey):
        old.reveal()


def test_reencrypted_needs_the_first_key_only(settings):
    old = Secret.of(PLAIN)
    settings.CAMERA_KEYS = [NEW, OLD]
    again = old.reencrypted()
    settings.CAMERA_KEYS = [NEW]
    assert again.reveal() == PLAIN
    with pytest.raises(WrongKey):
        old.reencrypted()


def test_a_wrong_key_says_what_to_do_and_nothing_else(settings):
    secret = Secret.of(PLAIN)
    settings.CAMERA_KEYS = [NEW]
    with pytest.raises(WrongKey, match="CAMERA_KEYS") as caught:
        secret.reveal()
    told = "".join(traceback.format_exception(caught.value))
    assert "InvalidToken" not in told
    assert not any(key in told for key in (OLD, NEW, secret.ciphertext, "s3cret"))


@pytest.mark.parametrize(
    "change", [lambda token: token[:-4] + "AAAA", lambda token: "nonsense", lambda token: token[:20], lambda token: "ä"]
)
def test_a_changed_ciphertext_is_not_decrypted(change):
    with pytest.raises(WrongKey):
        Secret(change(Secret.of(PLAIN).ciphertext)).reveal()


@pytest.mark.django_db
def test_the_column_holds_the_ciphertext_and_python_a_secret():
    camera = a_camera(Secret.of(PLAIN))
    assert raw_address(camera) == camera.address.ciphertext
    assert "s3cret" not in raw_address(camera)
    camera.refresh_from_db()
    assert isinstance(camera.address, Secret)
    assert camera.address.reveal() == PLAIN


@pytest.mark.django_db
def test_no_address_is_an_empty_secret():
    camera = a_camera()
    camera.refresh_from_db()
    assert camera.address == Secret("")


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [PLAIN, PLAIN.encode(), 5, ["a"]])
def test_what_is_not_encrypted_is_not_saved_and_not_shown(wrong):
    with pytest.raises(TypeError) as caught, transaction.atomic():
        a_camera(wrong)
    assert "s3cret" not in str(caught.value)
    camera = a_camera()
    with pytest.raises(TypeError), transaction.atomic():
        Camera.objects.filter(pk=camera.pk).update(address=wrong)
    with pytest.raises(TypeError):
        Camera.objects.filter(address=wrong).exists()
    with pytest.raises(ValidationError) as refused:
        SecretField().to_python(wrong)
    assert "s3cret" not in str(refused.value)
    assert raw_address(camera) == ""


@pytest.mark.django_db
def test_a_row_is_changed_only_while_it_holds_what_was_read():
    camera = a_camera(Secret.of(PLAIN))
    stale, fresh = camera.address, Secret.of("rtsp://elsewhere/")
    assert Camera.objects.filter(pk=camera.pk, address=stale).update(address=fresh) == 1
    assert Camera.objects.filter(pk=camera.pk, address=stale).update(address=stale) == 0
    assert Camera.objects.values_list("address", flat=True).get() == fresh


@pytest.mark.django_db
def test_no_form_has_it():
    with pytest.raises(FieldError, match="non-editable"):
        modelform_factory(Camera, fields=["name", "address"])
    assert SecretField(editable=True).formfield() is None


@pytest.mark.django_db
def test_a_dump_holds_the_ciphertext_and_loads_again():
    camera = a_camera(Secret.of(PLAIN))
    dump = serializers.serialize("json", [camera])
    assert "s3cret" not in dump
    Camera.objects.all().delete()
    for loaded in serializers.deserialize("json", dump):
        loaded.save()
    assert Camera.objects.get().address.reveal() == PLAIN


def test_a_migration_describes_it_without_more():
    _name, path, arguments, keywords = SecretField("address", blank=True).deconstruct()
    assert (path, arguments) == ("detection.fields.SecretField", [])
    assert keywords == {"verbose_name": "address", "blank": True, "editable": False}

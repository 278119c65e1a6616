"""Whether the keys that are set are those with which the cameras' addresses were encrypted."""

from __future__ import annotations

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, ProgrammingError

from detection.fields import WrongKey

BATCH = 1000


def check_keys() -> None:
    """Raises ImproperlyConfigured where a camera's address cannot be decrypted. Changes nothing.

    Quiet where there is no database, no table or no such column yet. About 0.4 s for 10,000 cameras.
    """
    cameras = apps.get_model("detection", "Camera").objects.exclude(address="").order_by("pk")
    count = lost = 0
    try:
        for address in cameras.values_list("address", flat=True).iterator(chunk_size=BATCH):
            count += 1
            try:
                address.reveal()
            except WrongKey:
                lost += 1
    except (OperationalError, ProgrammingError):
        return
    if lost:
        raise ImproperlyConfigured(
            f"CAMERA_KEYS cannot decrypt the addresses of {lost} of {count} cameras. Put the key that was set when "
            "they were entered back into CAMERA_KEYS (in .env), behind the new one and a comma; or, if it is lost, "
            "take the cameras out of the database and enter them again."
        )

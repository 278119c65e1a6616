"""Encrypts the cameras' addresses anew, after a key was put in front of CAMERA_KEYS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.fields import Secret, WrongKey
from detection.models import Camera

BATCH = 500
NAMED = 20
TRIES = 5


class Command(BaseCommand):
    help = "Encrypt all cameras' addresses with the first of CAMERA_KEYS. Harmless to repeat."

    def handle(self, **options: Any) -> None:
        if lost := [name for _, name, address in rows() if not can_be_read(address)]:
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            raise CommandError(
                f"Nothing was changed: CAMERA_KEYS cannot decrypt the addresses of these cameras ({len(lost)}): "
                f"{', '.join(f'“{name}”' for name in lost[:NAMED])}{more}. Put the key that was set when they were "
                "entered back into CAMERA_KEYS, or enter their addresses again."
            )
        count = sum(reencrypt(pk, address) for pk, _, address in rows())
        self.stdout.write(
            f"Encrypted the addresses of {count} cameras with the first of CAMERA_KEYS. The other keys are still "
            "needed by processes that were started before, and for backups from before."
        )


def rows() -> Iterator[tuple[int, str, Secret]]:
    """Key, name and address of each camera, in batches that hold no cursor open while rows are written."""
    last = 0
    while batch := list(Camera.objects.filter(pk__gt=last).order_by("pk").values_list("pk", "name", "address")[:BATCH]):
        yield from batch
        last = batch[-1][0]


def can_be_read(address: Secret) -> bool:
    try:
        address.reveal()
    except WrongKey:
        return False
    return True


def reencrypt(pk: int, address: Secret | None) -> bool:
    """Whether it was done; not where the camera is gone or has no address. An edit in the same moment wins."""
    for _ in range(TRIES):
        if not address:
            return False
        if Camera.objects.filter(pk=pk, address=address).update(address=address.reencrypted()):
            return True
        address = Camera.objects.filter(pk=pk).values_list("address", flat=True).first()
    raise CommandError(f"Camera {pk} is changed again and again: run this once more when nobody edits it.")

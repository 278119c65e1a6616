"""The keys of what is encrypted in the database."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from django.core.exceptions import ImproperlyConfigured


def padded(key: str) -> str:
    """A Fernet key with its padding, which may be left out where a shell or a reader of .env files minds the “=”."""
    return key.strip().rstrip("=") + "="


def validate(given: Sequence[str]) -> None:
    """Raises ImproperlyConfigured, without showing a key, where one of them is none."""
    for number, key in enumerate(given, 1):
        try:
            right = len(base64.b64decode(padded(key), altchars=b"-_", validate=True)) == 32
        except (binascii.Error, ValueError):
            right = False
        if not right:
            raise ImproperlyConfigured(
                f"Key {number} of CAMERA_KEYS is not a Fernet key: 32 random bytes in base64url, 44 letters. Make one "
                "with `python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'`."
            )

"""The keys of what is encrypted in the database."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

SECRET_LEAST, DIFFERENT_LEAST = 50, 5  # what Django itself asks for


def padded(key: str) -> str:
    """A Fernet key with its padding, which may be left out where a shell or a reader of .env files minds the “=”."""
    return key.strip().rstrip("=") + "="


def problems(given: Sequence[str]) -> list[str]:
    """What is wrong with the CAMERA_KEYS, in sentences that show no key."""
    if not given:
        return [
            "CAMERA_KEYS is not set: run `make setup`, which writes one into .env, or set it yourself. Where cameras "
            "are in the database already, it must be the key that was set when they were entered."
        ]
    return [
        f"Key {number} of CAMERA_KEYS is not a Fernet key: 32 random bytes in base64url, 44 letters. Make one "
        "with `python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'`."
        for number, key in enumerate(given, 1)
        if not is_key(key)
    ]


def is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(padded(key), altchars=b"-_", validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def problems_of_secret(key: str, *, lenient: bool) -> list[str]:
    """What is wrong with the SECRET_KEY."""
    if not key:
        return ["SECRET_KEY is not set: run `make setup`, which writes one into .env, or set it yourself."]
    if not lenient and (
        len(key) < SECRET_LEAST or len(set(key)) < DIFFERENT_LEAST or key.startswith("django-insecure-")
    ):
        return [
            f"SECRET_KEY is too easy to guess: it must have at least {SECRET_LEAST} letters, {DIFFERENT_LEAST} of them "
            "different. Make one with `python -c 'import secrets; print(secrets.token_urlsafe(50))'`."
        ]
    return []

"""What is kept encrypted in the database, so that neither a backup nor a query of the table gives it away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Expression

HIDDEN = "•••"
TOKEN_START = "gAAAAA"  # noqa: S105 - every Fernet token begins so: version 128 and the first bytes of a time before 2106


class WrongKey(Exception):
    """A secret was encrypted with none of the keys that are set, or was changed since."""

    def __init__(self) -> None:
        super().__init__(
            "This was encrypted with a key that is not in CAMERA_KEYS: put that key back, behind the new one."
        )


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """An encrypted text, which shows itself as •••; `reveal` is the only way to the plain text.

    Two are equal where their ciphertexts are: the same text encrypted twice is not.
    """

    ciphertext: str  # a Fernet token; empty for nothing, which is falsy

    @classmethod
    def of(cls, plain: str) -> Secret:
        """Encrypts with the first of CAMERA_KEYS."""
        return cls(_fernet(tuple(settings.CAMERA_KEYS)).encrypt(plain.encode()).decode() if plain else "")

    def reveal(self) -> str:
        """The plain text; raises WrongKey."""
        try:
            return _fernet(tuple(settings.CAMERA_KEYS)).decrypt(self.ciphertext.encode()).decode() if self else ""
        except InvalidToken:
            raise WrongKey from None

    def reencrypted(self) -> Secret:
        """The same, encrypted with the first of CAMERA_KEYS; raises WrongKey."""
        try:
            return (
                Secret(_fernet(tuple(settings.CAMERA_KEYS)).rotate(self.ciphertext.encode()).decode()) if self else self
            )
        except InvalidToken:
            raise WrongKey from None

    def __bool__(self) -> bool:
        return bool(self.ciphertext)

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return f"<Secret {HIDDEN}>"

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)


@lru_cache(maxsize=8)
def _fernet(keys: Sequence[str]) -> MultiFernet:
    # The padding may be left out, because a shell or a reader of .env files may mind the “=”.
    return MultiFernet([Fernet(key.strip().rstrip("=") + "=") for key in keys])


if TYPE_CHECKING:
    _TextField = models.TextField[Secret | str, Secret]
else:
    _TextField = models.TextField


class SecretField(_TextField):
    """A column of ciphertext, a `Secret` in Python, in no form. To save or look for a plain text is a TypeError."""

    description = "Encrypted text"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def from_db_value(
        self, value: str | None, expression: Expression, connection: BaseDatabaseWrapper
    ) -> Secret | None:
        return None if value is None else Secret(value)

    def to_python(self, value: Any) -> Secret | None:
        """Also from a fixture, which holds the ciphertext. A plain text is refused before it can pass for one."""
        if value is None or isinstance(value, Secret):
            return value
        if value == "" or (isinstance(value, str) and value.startswith(TOKEN_START)):
            return Secret(value)
        raise ValidationError("This must be encrypted before it is kept.", code="not_encrypted")

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, Secret):
            return value.ciphertext
        if value is None or value == "" or hasattr(value, "resolve_expression"):
            return value
        # Without the value: it is what must not be shown.
        raise TypeError(f"{self.name} takes a Secret and not {type(value).__name__}: use Secret.of(…).")

    def value_to_string(self, obj: models.Model) -> str:
        return str(self.get_prep_value(self.value_from_object(obj)) or "")

    def formfield(self, *args: Any, **kwargs: Any) -> None:
        return None

"""What `manage.py check --database default` and `migrate` look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured

from detection.keys import check_keys


@register(Tags.database)
def keys_fit(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Whether the cameras' addresses can be decrypted."""
    if not databases:
        return []
    try:
        check_keys()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="nightjar.E001")]
    return []

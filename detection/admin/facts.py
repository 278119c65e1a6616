"""What the pages of the admin share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.contrib import admin, messages
from django.db.models import FileField
from django.db.models import Model as DjangoModel
from django.http import HttpRequest


@cache
def stored_name(field: str) -> Callable[[DjangoModel], str]:
    """A file by its name. Django would link to it: with a bucket, past our login, for whoever has the link."""

    @admin.display(description=field)
    def name(row: DjangoModel) -> str:
        return str(getattr(row, field).name or "")

    return name


class Facts(admin.ModelAdmin):
    """Rows that the system writes: to be read, never typed. Their page shows all columns not in ``exclude``."""

    def get_fields(self, request: HttpRequest, obj: DjangoModel | None = None) -> list[Any]:
        shown = [field for field in self.model._meta.fields if field.name not in (self.exclude or ())]
        return [stored_name(field.name) if isinstance(field, FileField) else field.name for field in shown]

    def get_readonly_fields(self, request: HttpRequest, obj: DjangoModel | None = None) -> list[Any]:
        return self.get_fields(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: DjangoModel | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: DjangoModel | None = None) -> bool:
        return False


def tell(page: admin.ModelAdmin, request: HttpRequest, done: int, asked: int, what: str, else_why: str) -> None:
    """Says how many of the chosen rows were acted on, and why the others were not."""
    level = messages.SUCCESS if done else messages.WARNING
    left = f" {asked - done} left as they were: {else_why}." if done < asked else ""
    page.message_user(request, f"{done} {what}.{left}", level)

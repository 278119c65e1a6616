"""What the pages of the admin share."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model as DjangoModel
from django.http import HttpRequest


class Facts(admin.ModelAdmin):
    """Rows that the system writes: to be read, never typed. Their page shows all columns not in ``exclude``."""

    def get_fields(self, request: HttpRequest, obj: DjangoModel | None = None) -> list[Any]:
        return [field.name for field in self.model._meta.fields if field.name not in (self.exclude or ())]

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

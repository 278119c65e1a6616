"""What a user may see."""

from __future__ import annotations

from typing import Generic, TypeVar

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, PermissionsMixin
from django.db import models

M = TypeVar("M", bound=models.Model)


class VisibleQuerySet(models.QuerySet[M], Generic[M]):
    """Rows that know who may see them. Every page and every served file starts from ``visible_to``."""

    def visible_to(self, user: AbstractBaseUser | AnonymousUser | PermissionsMixin) -> VisibleQuerySet[M]:
        """The rows this user may see: all with the view permission (viewers, reviewers and operators), else none."""
        permission = f"detection.view_{self.model._meta.model_name}"
        return self if user.has_perm(permission) else self.none()  # type: ignore[union-attr]

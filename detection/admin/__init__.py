"""The admin: every record with its facts, and what an operator may do with many at once."""

from django.contrib import admin

from detection.admin import cameras, media

__all__ = ["cameras", "media"]

admin.site.site_header = "Nightjar"
admin.site.site_title = "Nightjar"

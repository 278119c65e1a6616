"""Words on analyses for the templates; what they say is in views/analysis_wording.py."""

from __future__ import annotations

from django import template

from detection.models import Analysis
from detection.models.forecast import Forecast
from detection.views import analysis_wording as wording

register = template.Library()
register.simple_tag(wording.progress_words)
register.filter(wording.kind_words)


@register.filter
def of(forecasts: dict[int, Forecast], analysis: Analysis) -> Forecast | None:
    return forecasts.get(analysis.pk)

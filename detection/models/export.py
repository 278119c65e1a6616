"""A stored result as JSON, in the form that `manage.py analyse --json` prints."""

from __future__ import annotations

from typing import Any

from detection.models.analysis import Analysis
from detection.models.sighting import Sighting


def exported(analysis: Analysis) -> dict[str, Any]:
    """The media, how it was analysed, and what was seen; ``label`` is the model's, ``verdict`` what a person said.

    But for ids, times, ``worker``, ``attempts`` and ``wall_s``, the result of the same media, model and parameters is
    the same, whoever worked it out and whatever happened meanwhile.
    """
    media = analysis.media
    state = Analysis.State(analysis.state)
    facts: dict[str, Any] = {
        "id": analysis.pk,
        "state": state.value,
        "model": analysis.model.name,
        "model_sha256": analysis.model.sha256 or None,
        "params": analysis.params,
        "code_version": analysis.code_version,
        "requested_at": analysis.requested_at.isoformat(),
        "worker": analysis.worker,
        "attempts": analysis.attempts,
        "frames_planned": analysis.frames_planned,
        "frames_read": analysis.frames_read,
        "frames_sampled": analysis.frames_sampled,
        "frames_inferred": analysis.frames_inferred,
        "wall_s": analysis.wall_s,
    }
    if state == Analysis.State.FAILED:
        facts |= {"error_kind": analysis.error_kind, "error": analysis.error}
    sightings = analysis.sightings.order_by("number").select_related("verdict")
    return {
        "media": {
            "path": media.name,
            "sha256": media.sha256,
            "kind": media.kind,
            "width": media.width,
            "height": media.height,
            "duration_s": media.duration_s,
        },
        "analysis": facts,
        "sightings": [_sighting(sighting) for sighting in sightings.iterator(chunk_size=200)],
    }


def _sighting(sighting: Sighting) -> dict[str, Any]:
    said = sighting.verdict
    return {
        "id": sighting.number,
        "label": sighting.label,
        "score": round(sighting.score, 4),
        "start_s": sighting.start_s,
        "end_s": sighting.end_s,
        "path": sighting.path,
        "verdict": {"kind": said.kind, "label": said.label_of(sighting)} if said else None,
    }

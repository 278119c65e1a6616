"""Making again what was made from a media and is lost: its pictures here, its copy by a worker."""

from __future__ import annotations

from collections.abc import Iterator

from detection.models.intake import probe_with_preview
from detection.models.loose_file import LooseFile
from detection.models.media import Media
from detection.models.proxy import Proxy
from detection.models.sighting import Sighting
from detection.models.stock import Finding, What
from detection.storage import put
from detection.vision.types import Track, TrackPoint


def remake_copy(finding: Finding) -> Proxy | None:
    """Queues a lost copy, to be sent; None where it is not there, or queued, any more."""
    proxy = Proxy.objects.filter(pk=finding.pk, file=finding.name).first()
    return proxy if proxy is not None and proxy.remake() else None


def remake_pictures(media_pk: int, findings: list[Finding]) -> Iterator[Finding]:
    """Makes a media's lost small pictures again, under the names they had; answers each that is there again.

    Raises OSError or MediaError where the media itself cannot be read.
    """
    media = Media.objects.filter(pk=media_pk).first()
    if media is None:
        return
    for finding in findings:
        if finding.what == What.PREVIEW:
            _info, jpeg = probe_with_preview(media.local_path())
            put(finding.name, jpeg)
            yield finding
    lost = {finding.pk: finding for finding in findings if finding.what == What.THUMBNAIL}
    sightings = list(Sighting.objects.filter(media=media, pk__in=lost).order_by("pk"))
    for index, jpeg in _thumbnails(media, sightings):
        finding = lost[sightings[index].pk]
        put(finding.name, jpeg)
        yield finding
    if not Media.objects.filter(pk=media_pk).exists():  # removed meanwhile
        LooseFile.drop([finding.name for finding in findings])


def _thumbnails(media: Media, sightings: list[Sighting]) -> Iterator[tuple[int, bytes]]:
    from detection.vision.pipeline import thumbnails

    tracks = [Track(row.label, row.score, tuple(TrackPoint(*point) for point in row.path)) for row in sightings]
    return thumbnails(media.local_path(), "image" if media.kind == Media.Kind.IMAGE else "clip", tracks)

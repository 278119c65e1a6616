"""This machine: Python, packages, time zones, folders, disks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from zoneinfo import available_timezones

from django.conf import settings
from packaging.requirements import InvalidRequirement, Requirement

from detection import disk
from detection.models.retention import size_words
from project import folders
from project.doctor.findings import Check, Finding, error, ok, warning

OLDEST, NEWEST_TRIED = (3, 11), (3, 13)
INSTALL = "Run `make install`."


def versions() -> Iterator[Finding]:
    """Python and the packages, against what Nightjar was tried with."""
    running = sys.version_info[:2]
    if running < OLDEST:
        yield error("versions", f"Python {running[0]}.{running[1]} is too old: use 3.11 or later.")
    if running > NEWEST_TRIED:
        yield warning("versions", f"Python {running[0]}.{running[1]} is newer than any that was tried: 3.11 to 3.13.")
    wrong = list(_unfit_packages())
    for sentence in wrong:
        yield error("versions", f"{sentence} {INSTALL}")
    if not wrong:
        yield ok("versions", f"Nightjar {settings.CODE_VERSION} on Python {sys.version.split()[0]}, all packages fit.")


def _unfit_packages() -> Iterator[str]:
    for line in (settings.BASE_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines():
        try:
            wanted = Requirement(line.partition("#")[0])
        except InvalidRequirement:  # an empty line, a comment
            continue
        if wanted.marker and not wanted.marker.evaluate():
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted.name} is not installed."
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            yield f"{wanted.name} {there} is installed, and {wanted.specifier} is needed."


def time_zones() -> Iterator[Finding]:
    """The rules of the time zones; that TIME_ZONE is one the settings tell."""
    if not available_timezones():
        yield error("time zones", f"There are no time zone data on this machine. {INSTALL}")
        return
    yield ok("time zones", f"data are there, as for {settings.TIME_ZONE}.")


def own_folders() -> Iterator[Finding]:
    """What the embedded defaults write to."""
    if not settings.DATA_DIR.exists():
        yield warning("folders", f"{settings.DATA_DIR} is not there: `make setup` makes it.")
        return
    try:
        folders.data_folder(settings.DATA_DIR)
        folders.private_folder(folders.run_dir(settings.DATA_DIR))
    except folders.StartError as problem:
        yield error("folders", str(problem))
        return
    if not (settings.STATIC_ROOT / "staticfiles.json").exists():  # the names under which `collectstatic` put them
        yield error("folders", f"The pages' files are not in {settings.STATIC_ROOT}: run `make setup`.")
    yield ok("folders", f"{settings.DATA_DIR} can be written to.")


def disks() -> Iterator[Finding]:
    """Room for new media."""
    free = disk.free_bytes()
    reserve = settings.DISK_RESERVE_BYTES
    for name, there in free.items():
        room = f"{size_words(there)} free for {'media' if name == 'media' else 'the other data'}"
        if there <= reserve:
            yield error("disk", f"{room}, below DISK_RESERVE_BYTES: nothing new is taken in. Make room.")
        elif there < 2 * reserve:
            yield warning("disk", f"{room}, soon below DISK_RESERVE_BYTES.")
        else:
            yield ok("disk", f"{room}.")


STILL = [Check("versions", versions), Check("time zones", time_zones)]  # what does not change by itself
CHECKS = [
    *STILL,
    Check("folders", own_folders),
    Check("disk", disks),
]

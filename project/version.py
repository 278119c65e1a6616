"""Which code this is, so that two builds of one version can be told apart."""

from __future__ import annotations

from pathlib import Path


def described(base: Path, version: str) -> str:
    """The version and, in a git checkout, the commit: ``0.1.0+1a2b3c4``. Read from the files, without starting git."""
    git = base / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            name = head.removeprefix("ref: ")
            loose = git / name
            head = loose.read_text().strip() if loose.exists() else _packed(git / "packed-refs", name)
    except OSError:
        return version  # installed from an archive
    return f"{version}+{head[:7]}" if head else version


def _packed(file: Path, name: str) -> str:
    for line in file.read_text().splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return ""

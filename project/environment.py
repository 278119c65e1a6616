"""Writes `.env` with secrets of its own, or adds those that it lacks: `python project/environment.py [PATH]`.

Runs before anything is configured, so it needs the standard library only and imports nothing of Nightjar.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import sys
import tempfile
from pathlib import Path

# What each installation must have for itself. The values are letters, digits, `-` and `_`, which no shell and no
# reader of .env files takes for anything else.
GENERATED = {
    "SECRET_KEY": "signs sessions and links; a new one signs everybody out",
    "FLOWER_PASSWORD": "between the pages and Flower, the view of the queues; nobody types it",
    "CAMERA_KEYS": "encrypts the cameras' addresses in the database; keep a copy, without it they are lost",
}
# How many random bytes; a Fernet key has exactly 32, and may lack the padding.
BYTES = {"CAMERA_KEYS": 32}
HEADER = """\
# The settings of this installation. Keep this file to yourself: it holds secrets.
# .env.example lists what else can be set here.
"""


def missing(text: str) -> list[str]:
    """The generated keys that this text of a .env file gives no value."""
    return [
        key for key in GENERATED if not re.search(rf"^[ \t]*(?:export\s+)?{key}[ \t]*=[ \t]*[^\s#]", text, re.MULTILINE)
    ]


def completed(text: str) -> str:
    """The text with a value for each generated key; everything else stays as it is."""
    for key in missing(text):
        line = f"{key}={secrets.token_urlsafe(BYTES.get(key, 50))}"
        empty = re.compile(rf"^[ \t]*(?:export\s+)?{key}[ \t]*=.*$", re.MULTILINE)
        if empty.search(text):  # the first line of a key counts, so one more at the end would not be read
            text = empty.sub(line, text, count=1)
        else:
            text = text + ("" if text.endswith("\n") or not text else "\n") + f"\n# {GENERATED[key]}\n{line}\n"
    return text


def write(path: Path) -> str | None:
    """Makes or completes the file and returns a sentence about it, or None where nothing was to be done."""
    try:
        old = path.read_text(encoding="utf-8")
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        _put(path, completed(HEADER), 0o600, replace=False)
        return f"Wrote {path} with new secrets."
    if lacking := missing(old):
        _put(path, completed(old), mode, replace=True)
        return f"Added {' and '.join(lacking)} to {path}."
    return None


def _put(path: Path, text: str, mode: int, *, replace: bool) -> None:
    """The whole file or nothing: a power cut in the middle must not leave half a key behind."""
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".env.")
    temporary = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        if replace:
            temporary.replace(target)
        else:
            target.hardlink_to(temporary)  # unlike a rename it fails where somebody else was faster
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)


def main() -> int:
    base = Path(__file__).resolve().parent.parent
    path = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("NIGHTJAR_ENV_FILE") or base / ".env")
    try:
        said = write(path)
    except (OSError, UnicodeDecodeError) as error:
        print(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.", file=sys.stderr)
        return 1
    if said:
        print(said)
    if path.stat().st_mode & 0o077:
        print(f"Other users can read {path}, which holds secrets: close it with `chmod 600 {path}`.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

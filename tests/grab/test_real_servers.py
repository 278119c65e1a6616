"""HTTP cameras whose servers are not ours: what FFmpeg calls MJPEG, and what lighttpd calls a login."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from detection.sources import clean_address
from tests.grab.test_http import refusal
from tests.processes import PATIENCE
from tests.real_http_servers import GUARDED, PASSWORD, USER, ffmpeg_mjpeg, lighttpd, missing
from tests.services import absent
from workers.grab import GrabError, Limits, Policy, Snapshot, Source, grab

ODD = "a%20b/snap.jpg?channel=1&x=[1]&y=a|b"


@pytest.fixture
def patient(limits: Limits) -> Limits:
    """An encoder that starts on a busy machine takes a second or two."""
    return replace(limits, first_frame_s=6.0 * PATIENCE, total_s=8.0 * PATIENCE)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures that lighttpd serves, the same in each of its folders."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("open", *GUARDED):
        (folder / name / "a b").mkdir(parents=True)
        for path in ("snap.jpg", "a b/snap.jpg"):
            Image.effect_noise((320, 176), 60).convert("RGB").save(folder / name / path)
    return folder


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[int]:
    if missing("lighttpd"):
        absent("lighttpd is not installed.")
    with lighttpd(tmp_path_factory.mktemp("lighttpd"), site) as its_port:
        yield its_port


def entered(port: int, path: str, username: str = "", password: str = "") -> Source:
    """As a person enters it into the form."""
    return Source("http", clean_address("http", f"http://127.0.0.1:{port}/{path}", username, password))


def grab_when_it_listens(source: Source, limits: Limits, policy: Policy) -> Snapshot:
    """FFmpeg's server listens for one client, ends, and takes a moment to start again."""
    until = time.monotonic() + 20
    while True:
        try:
            return grab(source, limits, policy)
        except GrabError as error:
            if error.kind != "refused" or time.monotonic() > until:
                raise
        time.sleep(0.1)


@pytest.mark.parametrize("said", [(), ("-content_type", "multipart/x-mixed-replace;boundary=ffmpeg")])
def test_a_stream_of_ffmpeg_gives_a_picture_each_time(said: tuple[str, ...], patient: Limits, policy: Policy) -> None:
    if missing("ffmpeg"):
        absent("ffmpeg is not installed.")
    with ffmpeg_mjpeg(*said) as address:
        for _ in range(2):
            got = grab_when_it_listens(Source("mjpeg", address), patient, policy)
            assert (got.info.format, got.info.width, got.info.height) == ("jpeg", 320, 176)
            assert got.content.startswith(b"\xff\xd8")
            assert got.content.endswith(b"\xff\xd9")


@pytest.mark.parametrize("path", ["snap.jpg", ODD])
@pytest.mark.parametrize("folder", ["open", *GUARDED])
def test_a_picture_of_lighttpd_comes_as_it_is(
    folder: str, path: str, port: int, site: Path, patient: Limits, policy: Policy
) -> None:
    login = () if folder == "open" else (USER, PASSWORD)
    got = grab(entered(port, f"{folder}/{path}", *login), patient, policy)
    stored = path.partition("?")[0].replace("%20", " ")
    assert got.content == (site / folder / stored).read_bytes()


@pytest.mark.parametrize("folder", GUARDED)
def test_a_wrong_login_is_refused_by_lighttpd_for_good(folder: str, port: int, patient: Limits, policy: Policy) -> None:
    for login in ((USER, "hush"), ("hush", PASSWORD), ()):
        error = refusal(entered(port, f"{folder}/snap.jpg", *login), patient, policy)
        assert (error.kind, error.permanent) == ("unauthorised", True)
        assert "hush" not in str(error)


@pytest.mark.parametrize("folder", GUARDED)
def test_a_path_that_lighttpd_does_not_have_is_told(folder: str, port: int, patient: Limits, policy: Policy) -> None:
    error = refusal(entered(port, f"{folder}/nothing.jpg", USER, PASSWORD), patient, policy)
    assert (error.kind, error.permanent) == ("not_found", True)

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from detection.sources import Source
from tests.grab.test_http import refusal
from tests.vision.clips import write_clip
from workers.grab import GrabError, Limits, Policy, children, devices, grab
from workers.grab.children import Pool

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def jpeg(shade: int = 100) -> bytes:
    buffer = io.BytesIO()
    PillowImage.new("RGB", (160, 120), (shade, 50, 50)).save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.fixture
def bad_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pool = Pool(most=2, keep=2)
    monkeypatch.setattr(children, "COMMAND", [sys.executable, "-m", "tests.grab.bad_child"])
    monkeypatch.setattr(children, "LOOKERS", pool)
    monkeypatch.setattr(children, "WATCHERS", pool)
    monkeypatch.setattr(children, "LOOK_S", 1.0)
    yield pool
    pool.close()


def test_a_child_that_hangs_in_native_code_is_killed_and_the_next_grab_works(bad_pool: Pool, limits: Limits) -> None:
    children.look(jpeg(), limits, NOW)
    child = bad_pool._idle[0]
    started = time.monotonic()
    with pytest.raises(GrabError, match="took longer") as caught:
        children.look(jpeg() + b"HANG", limits, NOW)
    assert caught.value.kind == "garbage"
    assert time.monotonic() - started < 2
    assert child.process.poll() is not None
    assert children.look(jpeg(), limits, NOW).info.width == 160


def test_a_child_that_crashes_does_no_harm(bad_pool: Pool, limits: Limits) -> None:
    with pytest.raises(GrabError, match="damaged") as caught:
        children.look(jpeg() + b"CRASH", limits, NOW)
    assert (caught.value.kind, caught.value.permanent) == ("garbage", False)
    assert children.look(jpeg(), limits, NOW).info.width == 160


@pytest.mark.parametrize(("word", "kind"), [("HANG", "timeout"), ("CRASH", "damaged")])
def test_a_stream_that_hangs_or_crashes_its_child_does_no_harm(
    word: str, kind: str, bad_pool: Pool, limits: Limits, policy: Policy
) -> None:
    (policy.files_dir / "still.jpg").write_bytes(jpeg())
    still = Source("file", "still.jpg")
    assert grab(still, limits, policy).info.width == 160
    child = bad_pool._idle[0]
    started = time.monotonic()
    error = refusal(Source("rtsp", f"rtsp://127.0.0.1:1/{word}"), limits, policy)
    assert (error.kind, error.permanent) == (kind, False)
    assert time.monotonic() - started < limits.total_s + children.GRACE_S + 1
    assert child.process.poll() is not None
    assert grab(still, limits, policy).info.width == 160


GOOD = {"kind": "image", "format": "jpeg", "codec": "jpeg", "width": 1, "height": 1, "duration_s": 0, "frames": 1,
        "rotation_deg": 0, "captured_at": None, "browser_plays": True}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "{" * 3,
        '{"a": ' + "[" * 200_000,
        '{"error": 5}',
        '{"error": {}}',
        '{"error": {"message": "x", "kind": [], "permanent": 1}}',
        '{"info": 5}',
        '{"info": {"width": 3}}',
        json.dumps({"info": GOOD}),
        json.dumps({"info": GOOD | {"width": "x"}, "fingerprint": ""}),
        json.dumps({"info": GOOD | {"codec": "\0"}, "fingerprint": ""}),
        json.dumps({"info": GOOD | {"frames": float("nan")}, "fingerprint": ""}),
        json.dumps({"info": GOOD, "fingerprint": "", "resident": "x"}),
    ],
)
def test_a_child_that_was_taken_over_can_only_fail_its_own_grab(text: str, bad_pool: Pool, limits: Limits) -> None:
    with pytest.raises(GrabError) as caught:
        children.look(jpeg() + b"SAYS" + text.encode(), limits, NOW)
    assert caught.value.kind == "garbage"
    assert bad_pool._idle == [], "it does not get another order"
    assert children.look(jpeg(), limits, NOW).info.width == 160


def test_a_child_cannot_say_that_its_failure_is_not_the_cameras(bad_pool: Pool, limits: Limits) -> None:
    for kind in ("unexpected", "storage", "keys", "x" * 100):
        error = {"error": {"message": "Broken\0." + "x" * 1000, "kind": kind, "permanent": False}}
        with pytest.raises(GrabError) as caught:
            children.look(jpeg() + b"SAYS" + json.dumps(error).encode(), limits, NOW)
        assert caught.value.kind == "damaged"
        assert "\0" not in str(caught.value)
        assert len(str(caught.value)) <= 500
        bad_pool.close()


def test_a_moment_that_is_none_is_a_grab_that_failed(bad_pool: Pool, limits: Limits, policy: Policy) -> None:
    text = json.dumps({"info": GOOD, "fingerprint": "", "taken_at_s": float("inf")})
    assert refusal(Source("file", f"SAYS{text}"), limits, policy).kind == "damaged"


def test_what_fails_in_the_child_without_anybody_having_foreseen_it_counts_against_the_camera() -> None:
    from workers.grab import child
    from workers.grab.wire import Message

    error = child.answer(Message({"do": "hush"})).fields["error"]
    assert (error["kind"], error["message"]) == ("damaged", "The grab failed for a reason of its own (KeyError).")


def test_nobody_waits_for_a_child_that_the_kernel_does_not_let_go_of(
    bad_pool: Pool, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end in ("kill", "close"):
        children.look(jpeg(), limits, NOW)
        child = bad_pool._idle.pop()
        os.kill(child.process.pid, signal.SIGSTOP)  # as near as a test comes to it
        kill = child.process.kill
        monkeypatch.setattr(child.process, "kill", lambda: None)
        started = time.monotonic()
        getattr(child, end)()
        assert time.monotonic() - started < 2.5
        kill()
        until = time.monotonic() + 5
        while child.process.returncode is None and time.monotonic() < until:
            time.sleep(0.01)
        assert child.process.returncode == -signal.SIGKILL, "a thread has taken it off the list of processes"


def test_a_child_learns_which_authorities_are_trusted_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/own.pem")
    monkeypatch.setenv("SSL_CERT_DIR", "/own")
    monkeypatch.setenv("SECRET_KEY", "hush")
    known = children._environment()
    assert (known["SSL_CERT_FILE"], known["SSL_CERT_DIR"]) == ("/own.pem", "/own")
    assert "SECRET_KEY" not in known


def test_a_child_is_used_again_and_replaced_when_it_is_worn(
    bad_pool: Pool, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    children.look(jpeg(), limits, NOW)
    child = bad_pool._idle[0]
    children.look(jpeg(), limits, NOW)
    assert bad_pool._idle == [child]
    monkeypatch.setattr(children, "MAX_ORDERS", 3)
    children.look(jpeg(), limits, NOW)
    assert bad_pool._idle == []
    assert child.process.returncode == 0


def test_a_child_ends_when_its_input_ends(bad_pool: Pool, limits: Limits) -> None:
    children.look(jpeg(), limits, NOW)
    child = bad_pool._idle[0]
    child._sock.close()
    assert child.process.wait(2) == 0


def test_a_child_that_cannot_start_is_told(bad_pool: Pool, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "COMMAND", [sys.executable, "-c", ""])
    with pytest.raises(GrabError, match="cannot start"):
        children.look(jpeg(), limits, NOW)


def test_the_worker_stays_light() -> None:
    script = "import sys, workers.grab; assert not {'av', 'cv2', 'numpy', 'PIL', 'requests'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=children.ROOT, check=True)


def test_an_image_file_is_itself_and_a_clip_plays(limits: Limits, policy: Policy) -> None:
    (policy.files_dir / "still.jpg").write_bytes(jpeg())
    assert grab(Source("file", "still.jpg"), limits, policy).content == jpeg()
    write_clip(policy.files_dir / "loop.mp4")
    assert grab(Source("file", "loop.mp4"), limits, policy).info.width == 160


def test_a_clip_shows_the_frame_of_the_moment_in_a_loop(
    limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(policy.files_dir / "loop.mp4")  # two seconds
    prints = []
    for now_s in (1000.5, 1001.5, 1002.5):
        monkeypatch.setattr(devices.time, "time", lambda now_s=now_s: now_s)
        prints.append(devices.from_file("loop.mp4", limits, policy).fields["fingerprint"])
    assert prints[0] == prints[2] != prints[1]


def test_files_outside_of_the_folder_and_absent_ones_are_refused(
    limits: Limits, policy: Policy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes(jpeg())
    (policy.files_dir / "link.jpg").symlink_to(outside)
    for name in ("link.jpg", "absent.jpg", "../outside/secret.jpg", str(outside)):
        error = refusal(Source("file", name), limits, policy)
        assert (error.kind, error.permanent) == ("no_file", True)


def test_a_file_that_plays_nothing_is_told(limits: Limits, policy: Policy) -> None:
    (policy.files_dir / "notes.txt").write_text("only text")
    error = refusal(Source("file", "notes.txt"), limits, policy)
    assert (error.kind, str(error)) == ("garbage", "The camera's file is neither a picture nor a clip that plays.")


def test_a_device_that_is_not_there_is_told(limits: Limits, policy: Policy) -> None:
    error = refusal(Source("usb", "/dev/video99"), limits, policy)
    assert (error.kind, error.permanent) == ("no_device", False)


class Webcam:
    """Its picture gets brighter until the exposure has settled."""

    opened, pictures = True, True

    def __init__(self, *_: object) -> None:
        self.shade = 0

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return self.opened

    def read(self) -> tuple[bool, object]:
        self.shade += 10
        return self.pictures, np.full((48, 64, 3), (0, 0, self.shade), dtype=np.uint8)

    def release(self) -> None:
        pass


def test_a_device_gives_a_picture_after_its_exposure_has_settled(
    limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video0").touch()
    monkeypatch.setattr("cv2.VideoCapture", Webcam)
    got = devices.from_device(str(tmp_path / "video0"), limits)
    red, _, blue = PillowImage.open(io.BytesIO(got.content)).getpixel((10, 10))
    assert red == pytest.approx(60, abs=4)
    assert blue < 5
    for trouble, kind in (("pictures", "timeout"), ("opened", "no_device")):
        monkeypatch.setattr(Webcam, trouble, False)
        with pytest.raises(GrabError) as caught:
            devices.from_device(str(tmp_path / "video0"), limits)
        assert caught.value.kind == kind

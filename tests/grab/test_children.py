from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image as PillowImage

from detection.sources import Source
from tests.grab.test_http import refusal
from tests.processes import PATIENCE
from workers.grab import GrabError, Limits, Policy, child, children, grab
from workers.grab.children import Child, Pool
from workers.grab.wire import HEAD, Message, receive, send

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
    monkeypatch.setattr(children, "LOOK_S", 1.0 * PATIENCE)
    yield pool
    pool.close()


def test_a_child_that_hangs_in_native_code_is_killed_and_the_next_grab_works(bad_pool: Pool, limits: Limits) -> None:
    children.look(jpeg(), limits, NOW)
    child = bad_pool._idle[0]
    started = time.monotonic()
    with pytest.raises(GrabError, match="took longer") as caught:
        children.look(jpeg() + b"HANG", limits, NOW)
    assert caught.value.kind == "garbage"
    assert time.monotonic() - started < 2 * PATIENCE
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
        json.dumps({"info": GOOD | {"kind": "video"}, "fingerprint": ""}),
        json.dumps({"info": GOOD, "fingerprint": "x" * 65}),
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
        assert time.monotonic() - started < 2.5 * PATIENCE
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


# What is lent out


def test_a_child_that_died_while_it_was_idle_is_not_lent_out(bad_pool: Pool, limits: Limits) -> None:
    children.look(jpeg(), limits, NOW)
    process = bad_pool._idle[0].process
    process.kill()
    process.wait()
    assert children.look(jpeg(), limits, NOW).info.width == 160


def test_a_child_that_has_grown_is_replaced(bad_pool: Pool, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "MAX_RESIDENT_BYTES", 1000)
    children.look(jpeg(), limits, NOW)
    assert bad_pool._idle == []


def test_no_more_than_are_to_be_kept_stay_idle(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LOOKERS", pool := Pool(most=2, keep=0))
    children.look(jpeg(), limits, NOW)
    assert pool._idle == []


def test_nobody_waits_for_ever_where_all_children_are_at_work_and_it_is_no_fault_of_the_camera(
    limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "START_S", 0.1)
    monkeypatch.setattr(children, "LOOKERS", pool := Pool(most=1, keep=0))
    pool._free.acquire()
    with pytest.raises(GrabError, match="too busy") as caught:
        children.look(jpeg(), limits, NOW)
    assert caught.value.kind == "unexpected"


# One child


def test_a_child_that_does_not_get_ready_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "START_S", 0.3)
    monkeypatch.setattr(children, "COMMAND", [sys.executable, "-c", "import time; time.sleep(60)"])
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[0])
    with pytest.raises(TimeoutError):
        Child()
    assert started[0].wait(10) == -signal.SIGKILL


@contextmanager
def ordered(change: str, limits: Limits) -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """A child of which something was changed, and which was ordered to look at a picture."""
    script = f"import time, workers.grab.child as c, workers.grab.wire as wire; {change}; c.main()"
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([sys.executable, "-c", script], cwd=children.ROOT, stdin=theirs) as process:
        try:
            receive(ours, 0, time.monotonic() + children.START_S)
            send(ours, Message({"do": "look", "limits": asdict(limits)}, jpeg()))
            yield ours, process
        finally:
            process.kill()


def test_a_child_that_hangs_ends_by_itself_where_nobody_is_left_to_kill_it(limits: Limits) -> None:
    hang = "c.ALARM_S, c.LOOK_S = 0.2, 0.1; c.HANDLERS['look'] = lambda *_: time.sleep(60)"
    with ordered(hang, limits) as (_, process):
        assert process.wait(10) == -signal.SIGALRM


def test_a_child_that_has_answered_is_not_ended_by_its_alarm(limits: Limits) -> None:
    answer = "c.ALARM_S, c.LOOK_S = 0.5, 0.5; c.HANDLERS['look'] = lambda *_: wire.Message({})"
    with ordered(answer, limits) as (sock, process):
        receive(sock, 0, time.monotonic() + 10)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells the limits of a process")
def test_a_child_has_little_memory_leaves_no_core_and_does_not_hear_of_ctrl_c(bad_pool: Pool, limits: Limits) -> None:
    children.look(jpeg(), limits, NOW)
    process = bad_pool._idle[0].process
    lines = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    known = {line[:25].strip(): line[25:].split()[0] for line in lines}
    assert known["Max core file size"] == "0"
    assert known["Max address space"] != "unlimited"
    process.send_signal(signal.SIGINT)
    children.look(jpeg(), limits, NOW)
    assert [idle.process for idle in bad_pool._idle] == [process]


def test_what_takes_too_much_memory_is_too_large(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> Message:
        raise MemoryError

    monkeypatch.setitem(child.HANDLERS, "look", greedy)
    error = child.answer(Message({"do": "look", "limits": asdict(limits)})).fields["error"]
    assert (error["kind"], error["permanent"]) == ("too_large", True)


@pytest.mark.parametrize("lengths", [(2, 2**31, 0), (2, 600, 600), (2**31, 0, 0)])
def test_a_message_that_is_longer_than_agreed_is_not_waited_for(lengths: tuple[int, int, int]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(HEAD.pack(*lengths) + b"{}")
        with pytest.raises(ValueError, match="longer than agreed"):
            receive(ours, 1000, time.monotonic() + 5)

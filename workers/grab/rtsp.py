"""One picture of an RTSP stream, in the child: FFmpeg over our relay, up to the first key frame that decodes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import av
import av.error

from detection.sources import PORTS
from detection.vision.container import upright_rgb
from workers.grab.line import Clock, Late, Line
from workers.grab.look import check_pixels, of_frame
from workers.grab.relay import Relay
from workers.grab.types import GrabError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from workers.grab.types import Limits, Policy
    from workers.grab.wire import Message

PROTOCOLS = {"tcp": "tcp", "udp": "tcp,udp,rtp"}


def grab(address: str, transport: str, verify_tls: bool, limits: Limits, policy: Policy) -> Message:
    """Raises GrabError."""
    started = time.monotonic()
    clock = Clock(started + limits.total_s)
    parts = urlsplit(address)
    line = Line(policy.allow_loopback, policy.allow_private, verify_tls, limits.connect_s, clock)
    camera = line.connect(parts.hostname or "", parts.port or PORTS[parts.scheme], parts.scheme == "rtsps")
    with Relay(camera, clock) as relay:
        login, at, _ = parts.netloc.rpartition("@")
        url = urlunsplit(("rtsp", f"{login}{at}127.0.0.1:{relay.port}", parts.path, parts.query, ""))
        session_s = started + min(limits.first_frame_s, limits.total_s) - time.monotonic()
        try:
            with _open(url, transport, max(0.1, session_s), clock, limits) as container:
                frame = _first_picture(container, clock)
                taken_at_s = time.time()
                check_pixels(frame.width, frame.height, limits)
                return of_frame(upright_rgb(frame, (0, 0)), taken_at_s)
        except (av.error.FFmpegError, Late, EOFError) as error:
            problem = _meaning(relay, bool(login), limits, _is_late(error, started, relay, limits))
    raise problem


def _open(url: str, transport: str, session_s: float, clock: Clock, limits: Limits) -> InputContainer:
    """The session, playing. Little is analysed before: the decoder finds out by itself what the stream is."""
    options = {
        "rtsp_transport": transport,
        "protocol_whitelist": PROTOCOLS[transport],
        "allowed_media_types": "video",
        "user_agent": "Nightjar",
        "timeout": str(int(session_s * 1e6)),
        "analyzeduration": "0",
        "fpsprobesize": "0",
        "max_delay": "200000",
        "max_pixels": str(limits.max_pixels),
    }
    return av.open(url, format="rtsp", options=options, timeout=(session_s, max(0.1, clock.left())))


def _first_picture(container: InputContainer, clock: Clock) -> VideoFrame:
    stream = _video(container)
    context = stream.codec_context
    context.thread_type = "NONE"  # frames in parallel come later
    context.thread_count = 1
    entered = False
    for packet in container.demux(stream):
        clock.left()
        entered = entered or packet.is_keyframe
        if not entered:
            continue
        try:
            frames = context.decode(packet)
        except av.error.InvalidDataError:
            entered = False
            continue
        for frame in frames:
            if not frame.is_corrupt:
                return frame
            entered = False
    raise EOFError


def _video(container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        return stream
    raise GrabError("There is no video at this address of the camera.", kind="garbage")


def _is_late(error: Exception, started: float, relay: Relay, limits: Limits) -> bool:
    """FFmpeg does not always say so where its time is over."""
    allowed_s = limits.total_s if relay.replies.status == 200 else min(limits.first_frame_s, limits.total_s)
    over = time.monotonic() - started > allowed_s - 0.1
    return over or isinstance(error, (Late, TimeoutError, av.error.ExitError))


def _meaning(relay: Relay, named: bool, limits: Limits, late: bool) -> GrabError:
    """The status that the camera gave says more than FFmpeg's error."""
    status = relay.replies.status
    if relay.problem:
        return relay.problem
    if status in (401, 403):
        return GrabError(
            "The camera does not accept this user name and password."
            if named
            else "The camera asks for a user name and a password. Enter them.",
            kind="unauthorised",
            permanent=True,
        )
    if status in (404, 410, 454):
        return GrabError(
            "The camera has no stream at this address. Look at the part behind its host in the camera's manual.",
            kind="not_found",
            permanent=True,
        )
    if status == 461:
        return GrabError(
            "The camera does not offer this way of transport. Choose the other one (TCP or UDP).",
            kind="http_status",
            permanent=True,
        )
    if status >= 500:
        return GrabError(f"The camera reports a fault of its own (status {status}).", kind="server_error")
    if status >= 400:
        return GrabError(
            f"The camera refuses to play the stream (status {status}).", kind="http_status", permanent=True
        )
    return _of_stream(relay, limits, late)


def _of_stream(relay: Relay, limits: Limits, late: bool) -> GrabError:
    if late and relay.replies.status != 200:
        return GrabError(
            f"The camera took the connection, but began no stream within {limits.first_frame_s:g} seconds. Look "
            "whether it is overloaded, and restart it if it stays so.",
            kind="timeout",
        )
    if late:
        return GrabError(
            f"The camera's stream gave no whole picture within {limits.total_s:g} seconds. Set its key frame interval "
            "to a second or two; where the transport is UDP, try TCP.",
            kind="timeout",
        )
    return GrabError("The camera ended the stream before there was a whole picture.", kind="garbage")

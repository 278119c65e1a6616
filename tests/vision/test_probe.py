from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from detection.vision import probe as probing
from detection.vision.probe import probe, probe_isolated
from detection.vision.types import Limits, MediaError
from tests.vision.clips import picture, set_matrix, write_clip

LIMITS = Limits()


def refusal(path: Path, data: bytes | None = None, limits: Limits = LIMITS) -> MediaError:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MediaError) as caught:
        probe(path, limits)
    assert str(caught.value).endswith(".") or "moov" in str(caught.value)
    return caught.value


def jpeg(width: int = 160, height: int = 120, **options: object) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(picture(5, width, height)).save(buffer, format="JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "format_", "codec", "plays"),
    [
        ("clip.mp4", {}, "mp4", "h264", True),
        ("clip.mov", {}, "mp4", "h264", True),
        ("high.mp4", {"pixels": "yuv444p"}, "mp4", "h264", False),
        ("clip.mkv", {}, "matroska", "h264", False),
        (
            "clip.webm",
            {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
            "matroska",
            "vp9",
            True,
        ),
        ("clip.avi", {"codec": "mpeg4"}, "avi", "mpeg4", False),
        ("clip.ts", {"muxer": "mpegts"}, "mpegts", "h264", False),
        ("av1.mp4", {"codec": "libsvtav1", "options": {"preset": "12"}}, "mp4", "av1", True),
        ("hevc.mp4", {"codec": "libx265", "options": {"x265-params": "log-level=0"}}, "mp4", "hevc", False),
    ],
)
def test_clips_are_known_by_their_content(
    name: str, options: dict[str, object], format_: str, codec: str, plays: bool, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / name, **options).rename(tmp_path / "holiday.txt")  # type: ignore[arg-type]
    info = probe(path, LIMITS, tmp_path / "preview.jpg")
    assert (info.kind, info.format, info.codec, info.browser_plays) == ("clip", format_, codec, plays)
    assert (info.width, info.height, info.frames, info.rotation_deg) == (160, 120, 60, 0)
    assert info.duration_s == pytest.approx(2, abs=0.002)
    with PillowImage.open(tmp_path / "preview.jpg") as preview:
        assert preview.size == (160, 120)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_images_are_known_by_their_content(format_: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    PillowImage.fromarray(picture(1, 900, 600)).save(path, format=format_)
    info = probe(path, LIMITS, tmp_path / "preview.jpg")
    assert (info.kind, info.format, info.frames, info.duration_s) == ("image", format_.lower(), 1, 0)
    assert (info.width, info.height, info.browser_plays) == (900, 600, True)
    with PillowImage.open(tmp_path / "preview.jpg") as preview:
        assert preview.size == (480, 320)


def test_a_turned_clip_has_the_size_that_people_see(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=3)
    info = probe(set_matrix(path, 0, 1, -1, 0), LIMITS)
    assert (info.width, info.height, info.rotation_deg, info.browser_plays) == (120, 160, 90, True)
    info = probe(set_matrix(path, 0, -1, 1, 0), LIMITS)
    assert info.rotation_deg == 270
    info = probe(set_matrix(path, -1, 0, 0, -1), LIMITS)
    assert info.rotation_deg == 180
    info = probe(set_matrix(path, -1, 0, 0, 1), LIMITS)
    assert (info.rotation_deg, info.browser_plays) == (0, False)  # browsers do not mirror


def test_the_time_of_recording_is_read(tmp_path: Path) -> None:
    noted = write_clip(tmp_path / "a.mp4", frames=2, metadata={"creation_time": "2024-05-06T07:08:09Z"})
    assert (probe(noted, LIMITS).captured_at or "").startswith("2024-05-06T07:08:09")
    assert probe(write_clip(tmp_path / "b.mp4", frames=2), LIMITS).captured_at is None
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8769)[0x9011] = "+02:00"
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(exif=exif))
    info = probe(path, LIMITS)
    assert (info.captured_at, info.rotation_deg, info.width, info.height) == ("2024-05-06T07:08:09+02:00", 90, 120, 160)
    del exif.get_ifd(0x8769)[0x9011]
    path.write_bytes(jpeg(exif=exif))
    assert probe(path, LIMITS).captured_at == "2024-05-06T07:08:09"


def test_what_is_no_media_gets_a_sentence_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("clip.mp4", b"x" * 100)
    cases = {
        "empty": [b""],
        "archive": [archive.getvalue(), b"\x1f\x8b\x08" + bytes(100), b"x" * 257 + b"ustar" + bytes(300)],
        "playlist": [
            b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
            b"ffconcat version 1.0\nfile 'http://example.org/a.mp4'\n",
            b"\xef\xbb\xbffile '/etc/passwd'\n",
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
            b"<?xml version='1.0'?><MPD></MPD>",
            b"rtsp://camera/stream",
        ],
        "unknown_format": [
            b"hello\n" * 200, b"%PDF-1.7" + bytes(200), b"RIFF\x24\0\0\0WAVEfmt ", bytes(1000),
            b"\0\0\0\x1cftypheic" + bytes(100), b"<?xml version='1.0'?><svg/>",
        ],
    }  # fmt: skip
    for kind, contents in cases.items():
        for content in contents:
            assert refusal(path, content).kind == kind, content[:20]


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_clip_is_refused_with_its_sentence(movflags: str, share: float, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", muxer_options={"movflags": movflags} if movflags else None)
    data = path.read_bytes()
    error = refusal(path, data[: int(len(data) * share)])
    assert (error.kind, "cut off" in str(error)) == ("truncated", True)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.webm"])
def test_truncation_is_seen_in_other_containers_too(name: str, tmp_path: Path) -> None:
    codec = "libvpx" if name.endswith("webm") else "mpeg4"
    path = write_clip(tmp_path / name, codec=codec)
    probe(path, LIMITS)
    assert refusal(path, path.read_bytes()[:-700]).kind == "truncated"


def test_a_recording_that_was_never_closed_is_taken_as_far_as_it_goes(tmp_path: Path) -> None:
    live = write_clip(tmp_path / "clip.mkv", muxer_options={"live": "1"})
    live.write_bytes(live.read_bytes()[:-100])
    assert probe(live, LIMITS).frames > 50
    stream = write_clip(tmp_path / "clip.ts", muxer="mpegts")
    stream.write_bytes(stream.read_bytes()[: -188 * 3])
    assert probe(stream, LIMITS).frames > 50
    video = write_clip(tmp_path / "clip.avi", codec="mjpeg", pixels="yuvj420p")
    data = bytearray(video.read_bytes())
    data[4:8] = bytes(4)
    video.write_bytes(data[: len(data) * 3 // 4])
    assert probe(video, LIMITS).frames > 30


def test_damaged_images_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    for format_ in ("JPEG", "PNG", "WEBP"):
        buffer = io.BytesIO()
        PillowImage.fromarray(noise).save(buffer, format=format_)
        assert refusal(tmp_path / "image", buffer.getvalue()[:5000]).kind in ("truncated", "unreadable")
    assert refusal(tmp_path / "image", b"\xff\xd8\xff" + bytes(50)).kind == "truncated"
    assert refusal(tmp_path / "image", b"\xff\xd8\xff" + bytes(5000)).kind == "unreadable"


def test_limits_are_kept(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    assert refusal(clip, limits=Limits(frames=59)).kind == "too_many_frames"
    assert refusal(clip, limits=Limits(duration_s=1.9)).kind == "too_long"
    assert refusal(clip, limits=Limits(bytes=1000)).kind == "too_large"
    assert "160 x 120" in str(refusal(clip, limits=Limits(pixels=160 * 120 - 1)))
    assert refusal(tmp_path / "image", jpeg(), Limits(pixels=1000)).kind == "too_large"


def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    png = bytearray()
    buffer = io.BytesIO()
    PillowImage.new("L", (1, 1)).save(buffer, format="PNG")
    png += buffer.getvalue()
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib

    png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
    assert refusal(tmp_path / "bomb.png", bytes(png)).kind == "too_large"


def test_absurd_and_absent_durations_do_not_count(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv")
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3
    for value in (b"\x7f\xf8" + bytes(6), b"\x7f\xf0" + bytes(6), b"\xff\xf0" + bytes(6), b"\x7f\xe0" + bytes(6)):
        path.write_bytes(data[:at] + value + data[at + 8 :])
        assert probe(path, LIMITS).duration_s == pytest.approx(2, abs=0.002)
    live = write_clip(tmp_path / "live.mkv", muxer_options={"live": "1"})
    assert probe(live, LIMITS).duration_s == pytest.approx(2, abs=0.05)


def test_time_stamps_gone_wrong_are_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", frames=3, times_ms=[0, 40, 10**12])
    assert refusal(path).kind == "bad_duration"


def test_sound_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    assert refusal(path).kind == "no_video"


def test_the_child_answers_as_the_probe_does(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a clip – ü.mp4")
    assert probe_isolated(clip, LIMITS, tmp_path / "preview.jpg") == probe(clip, LIMITS)
    assert (tmp_path / "preview.jpg").stat().st_size > 500
    with pytest.raises(MediaError) as caught:
        probe_isolated(clip, Limits(frames=10))
    assert caught.value.kind == "too_many_frames"


def test_a_file_that_hangs_the_probe_is_refused_in_time(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="took longer"):
        probe_isolated(write_clip(tmp_path / "clip.mp4"), LIMITS, timeout_s=0.01)


def test_a_crash_and_a_fault_of_ours_are_told_apart() -> None:
    def ended(code: int, out: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], code, out, b"Traceback: no module")

    with pytest.raises(MediaError, match="probably damaged"):
        probing._answer(ended(-11))
    with pytest.raises(RuntimeError, match="no module"):
        probing._answer(ended(1))


def test_the_child_reports_refusals_and_full_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").touch()
    order = {"path": str(tmp_path / "empty"), "preview": None, "limits": {"pixels": 1000}}
    assert probing.main(json.dumps(order))["error"]["kind"] == "empty"

    def fill_up(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(probing, "probe", fill_up)
    assert probing.main(json.dumps(order))["error"]["kind"] == "too_large"


def test_the_web_process_stays_small_and_the_childs_bounds_hold() -> None:
    script = (
        "import sys, detection.vision.probe as p; "
        "assert not {'av', 'cv2', 'numpy', 'PIL'} & set(sys.modules), sys.modules; "
        "p._bound_resources(5); import resource; "
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_AS)[0]); "
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, cwd=probing.ROOT)
    cpu_s, memory = done.stdout.split()
    assert cpu_s == b"5"
    assert sys.platform != "linux" or int(memory) == probing.MEMORY_BYTES


def test_boxes_of_every_size_notation_are_walked(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", muxer_options={"movflags": "faststart"})
    data = path.read_bytes()
    at = data.index(b"mdat") - 4
    to_the_end = data[:at] + bytes(4) + data[at + 4 :]
    path.write_bytes(to_the_end)
    assert probe(path, LIMITS).frames == 60
    for trailer in (bytes(12), b"\0\0\0\3abcdefgh", b"serial number 0815"):
        path.write_bytes(data + trailer)
        assert probe(path, LIMITS).frames == 60
    wide = (1).to_bytes(4, "big") + b"mdat" + (100).to_bytes(8, "big") + bytes(84)
    path.write_bytes(data + wide)
    assert probe(path, LIMITS).frames == 60
    assert refusal(path, data + wide[:-1]).kind == "truncated"


def test_a_matroska_header_that_is_none_is_refused(tmp_path: Path) -> None:
    header = b"\x1a\x45\xdf\xa3\x84abcd"
    assert refusal(tmp_path / "clip.mkv", header + b"\xec\x81\x00" * 50).kind == "unreadable"
    assert refusal(tmp_path / "clip.mkv", header + b"\x18\x53\x80\x67\x00" + bytes(50)).kind == "unreadable"


def test_a_clip_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        out.start_encoding()
    assert refusal(path).kind in ("unreadable", "truncated")

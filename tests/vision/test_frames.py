from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image as PillowImage

from detection.vision import container as container_module
from detection.vision import frames as reading
from detection.vision import spans as spans_module
from detection.vision.container import ClipClock, open_clip, packets_of, video_stream
from detection.vision.frames import ReadCount, first_frame, frames_at, plan_spans, read_frames, read_image
from detection.vision.types import MediaError, Span
from tests.vision.clips import damage, picture, set_matrix, write_clip

FORMATS = {
    "b-frames.mp4": {"options": {"bf": "3"}},
    "open-gop.mp4": {"options": {"bf": "3", "x264-params": "open-gop=1:scenecut=0:keyint=10"}},
    "intra-refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=10"}},
    "fragments.mp4": {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    "quicktime.mov": {},
    "h264.mkv": {"options": {"bf": "3"}},
    "h264.ts": {"muxer": "mpegts", "options": {"bf": "3"}},
    "h264.avi": {"options": {"bf": "3"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "keyint=10:open-gop=1:log-level=0"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "odd.mp4": {"size": (161, 121), "pixels": "yuv444p"},
}


def read(path: Path, span: Span | None = None, fps: float | None = None) -> list[tuple[float, int]]:
    with open_clip(path):
        return [(round(frame.time_s, 6), int(frame.image.sum())) for frame in read_frames(path, span, fps)]


@pytest.mark.parametrize("name", FORMATS)
def test_spans_give_together_what_a_whole_read_gives(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, **FORMATS[name])  # type: ignore[arg-type]
    spans = plan_spans(path, 0.5)
    assert spans[0].start_s == 0
    assert all(a.end_s == b.start_s for a, b in pairwise(spans))
    assert sum(span.frames for span in spans) == 60
    assert len(spans) == (1 if name == "h264.avi" else 3 if name != "mjpeg.avi" else 4)
    whole = read(path)
    assert len(whole) == 60
    assert [frame for span in spans for frame in read(path, span)] == whole
    for fps in (4, 7, 29, 100):
        assert [frame for span in spans for frame in read(path, span, fps)] == read(path, None, fps)
    assert [time_s for time_s, _ in whole] == pytest.approx([index / 30 for index in range(60)], abs=0.0011)


def test_frames_come_at_the_first_time_at_or_after_each_tick(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    times = [frame.time_s for frame in read_frames(path, None, 5)]
    assert times == pytest.approx([k / 5 for k in range(10)])
    assert len(list(read_frames(path, None, 1000))) == 60


def test_a_variable_frame_rate_keeps_its_own_times(tmp_path: Path) -> None:
    gaps = np.random.default_rng(7).integers(1, 400, 60)
    times_ms = [int(t) for t in np.cumsum(gaps) - gaps[0]]
    path = write_clip(tmp_path / "clip.mkv", times_ms=times_ms, options={"bf": "2"})
    assert [round(t * 1000) for t, _ in read(path)] == times_ms
    expected = [t for i, t in enumerate(times_ms) if i == 0 or t * 2 // 1000 > times_ms[i - 1] * 2 // 1000]
    assert [round(t * 1000) for t, _ in read(path, None, 2)] == expected
    spans = plan_spans(path, 2)
    assert len(spans) > 2
    assert [frame for span in spans for frame in read(path, span, 2)] == read(path, None, 2)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, -1)),  # a quarter turn clockwise takes the top left corner to the top right
        ((-1, 0, 0, -1), (-1, -1)),
        ((0, -1, 1, 0), (-1, 0)),
        ((-1, 0, 0, 1), (0, -1)),  # mirrored
        ((1, 0, 0, -1), (-1, 0)),
        ((0, 1, 1, 0), (0, 0)),
    ],
)
def test_pictures_are_turned_as_the_display_matrix_says(
    matrix: tuple[int, int, int, int], corner: tuple[int, int], tmp_path: Path
) -> None:
    path = set_matrix(write_clip(tmp_path / "clip.mp4", frames=3), *matrix)
    image = next(read_frames(path, None, None)).image
    assert image.shape == ((160, 120, 3) if matrix[1] else (120, 160, 3))
    row, column = corner
    blue = image[8 if row == 0 else -9, 8 if column == 0 else -9]
    assert blue[2] > 200
    assert blue[0] < 60


def test_a_broken_packet_costs_its_own_pictures_only(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", codec="mjpeg", pixels="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 3) if data[i : i + 3] == b"\xff\xd8\xff"]
    data[starts[3] : starts[4] - 16] = bytes(starts[4] - 16 - starts[3])
    path.write_bytes(data)
    assert len(read(path)) == 59


def test_a_clip_of_which_nothing_decodes_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    data = path.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])
    for attempt in (lambda: list(frames_at(path, [0.5])), lambda: first_frame(path)):
        with pytest.raises(MediaError, match="Not one picture"):
            attempt()


def test_a_span_of_which_nothing_decodes_gives_no_frames(tmp_path: Path) -> None:
    path = damage(write_clip(tmp_path / "clip.mp4", frames=90), 30, 60)
    spans = plan_spans(path, 0.9)
    assert [(span.start_s, span.frames) for span in spans] == [(0, 30), (1, 30), (2, 30)]
    assert [len(read(path, span)) for span in spans] == [30, 0, 30]


def test_frames_that_the_demuxer_cannot_get_at_are_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4")

    def damaged(
        container: InputContainer, stream: VideoStream, on_damage: Callable[[], None]
    ) -> Iterator[av.Packet[VideoStream]]:
        yield from islice(packets_of(container, stream), 30)
        on_damage()

    monkeypatch.setattr(spans_module, "packets_of", damaged)
    assert sum(span.frames for span in plan_spans(path, 0.5)) == 60


def test_reading_on_through_damage_has_an_end_and_each_stretch_is_told() -> None:
    class Endless:
        def demux(self, _stream: object) -> Iterator[object]:
            yield "packet"
            raise av.error.InvalidDataError(1, "damaged")

    told: list[int] = []
    packets = packets_of(Endless(), None, lambda: told.append(1))  # type: ignore[arg-type]
    assert (len(list(packets)), len(told)) == (200, 200)


def test_pictures_that_outgrow_the_header_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = write_clip(tmp_path / "small.ts", muxer="mpegts", frames=30).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(small + write_clip(tmp_path / "large.ts", muxer="mpegts", frames=30, size=(640, 480)).read_bytes())
    assert len(read(path)) == 60
    monkeypatch.setattr(container_module, "LEAST_BOUND", 0)
    assert 20 <= len(read(path)) <= 30  # a decoder on several threads loses some pictures at the border


def test_the_first_picture_tells_its_own_size(tmp_path: Path) -> None:
    sizes: list[tuple[int, int]] = []
    first_frame(write_clip(tmp_path / "clip.mp4", frames=2), lambda *size: sizes.append(size))
    assert sizes == [(160, 120)]


def test_times_are_found_where_the_clock_starts_anew(tmp_path: Path) -> None:
    part = write_clip(tmp_path / "part.ts", muxer="mpegts", frames=180).read_bytes()
    other = write_clip(tmp_path / "other.ts", muxer="mpegts", frames=180, still=True).read_bytes()
    path = tmp_path / "joined.ts"
    path.write_bytes(other + part + other)
    shown = {round(frame.time_s, 3): frame.image for frame in read_frames(path, None, None)}
    wanted = [time_s for time_s in shown if any(abs(time_s - goal) < 0.017 for goal in (5, 9, 10.5, 14))]
    assert len(wanted) >= 4
    for frame in frames_at(path, wanted):
        assert (frame.image == shown[frame.time_s]).all()


def test_the_reader_counts_what_it_passes_and_closes_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    opened = []
    monkeypatch.setattr(reading, "open_clip", lambda p: opened.append(open_clip(p)) or opened[-1])
    count = ReadCount()
    frames = read_frames(path, None, 1, count)
    next(frames)
    assert next(frames).index == 30
    assert count.frames == 30
    frames.close()
    with pytest.raises(AssertionError):
        opened[0].seek(0)
    list(read_frames(path, None, 1, count))


def test_a_span_of_another_file_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match="not the file"):
        list(read_frames(path, Span(1, 0.777, 2.0, 10), None))


def test_other_content_is_never_handed_to_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("#EXTM3U\n#EXTINF:1,\nother.ts\n")
    with pytest.raises(MediaError) as refusal:
        open_clip(path)
    assert refusal.value.kind == "unknown_format"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(2000))
    with pytest.raises(MediaError) as refusal:
        open_clip(path)
    assert refusal.value.kind == "unreadable"
    with pytest.raises(FileNotFoundError):
        open_clip(tmp_path / "nothing.mp4")


def test_times_that_run_back_are_mended_and_make_one_span(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.ts", muxer="mpegts", frames=30)
    joined = tmp_path / "joined.ts"
    later = write_clip(tmp_path / "later.ts", muxer="mpegts", times_ms=[90_000 + 33 * i for i in range(30)], frames=30)
    joined.write_bytes(later.read_bytes() + first.read_bytes())
    spans = plan_spans(joined, 0.1)
    assert len(spans) == 1
    times = [time_s for time_s, _ in read(joined, spans[0])]
    assert len(times) >= 58
    assert all(a < b for a, b in pairwise(times))
    assert times[-1] < 5


def test_a_clock_makes_up_times_where_there_are_none(tmp_path: Path) -> None:
    with open_clip(write_clip(tmp_path / "clip.mp4", frames=2)) as container:
        clock = ClipClock(container, video_stream(container))
        assert [clock.advance(None), clock.advance(None)] == pytest.approx([0, 1 / 30])
        one_s = int(1 / clock.time_base)
        assert clock.advance(one_s) == 1
        assert clock.advance(one_s - 10) == pytest.approx(1.001)


def test_the_frame_shown_at_each_time_is_found(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", frames=240)
    wanted = [0.0, 0.05, 0.05, 0.333, 6.5, 7.9, 99.0]
    for frame, index in zip(frames_at(path, wanted), [0, 1, 1, 10, 195, 237, 239], strict=True):
        assert abs(frame.image.astype(int) - picture(index)).mean() < 4


@pytest.mark.parametrize("name", ["h264.ts", "h264.mkv", "h264.avi"])
def test_thumbnail_times_are_reached_in_every_container(name: str, tmp_path: Path) -> None:
    options = {**FORMATS[name], "frames": 240}
    path = write_clip(tmp_path / name, **options)  # type: ignore[arg-type]
    for frame, index in zip(frames_at(path, [0.5, 6.5]), [15, 195], strict=True):
        assert abs(frame.image.astype(int) - picture(index)).mean() < 5


def test_an_image_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(picture(0)).save(path, exif=exif)
    image = read_image(path)
    assert image.shape == (160, 120, 3)
    assert image[8, -9, 2] > 200


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_kind_of_pixel_becomes_rgb(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    PillowImage.fromarray(picture(3)).convert(mode).save(path, format="JPEG" if mode == "CMYK" else "PNG")
    assert read_image(path).shape == (120, 160, 3)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    PillowImage.fromarray(np.full((20, 30), 32896, dtype=np.uint16)).save(path)
    assert (read_image(path) == 128).all()


def test_damaged_images_are_refused_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(buffer, format="JPEG")
    path = tmp_path / "image.jpg"

    def kind_of(data: bytes) -> str:
        path.write_bytes(data)
        with pytest.raises(MediaError) as refusal:
            read_image(path)
        return refusal.value.kind

    assert kind_of(buffer.getvalue()[:5000]) == "truncated"
    assert kind_of(b"\xff\xd8\xff" + bytes(500)) == "unreadable"
    assert kind_of(b"GIF89a" + bytes(500)) == "unknown_format"
    png = io.BytesIO()
    PillowImage.fromarray(noise).save(png, format="PNG")
    broken = bytearray(png.getvalue())
    broken[60:90] = bytes(30)
    assert kind_of(bytes(broken)) == "unreadable"
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 100)
    assert kind_of(buffer.getvalue()) == "too_large"


def test_a_clip_without_video_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError) as refusal:
        plan_spans(path, 60)
    assert refusal.value.kind == "no_video"

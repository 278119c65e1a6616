from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from detection.vision import proxy
from detection.vision.frames import read_frames
from detection.vision.probe import probe
from detection.vision.proxy import make_proxy
from detection.vision.types import Limits, MediaError
from tests.vision.clips import damage, set_matrix, write_clip


def test_a_proxy_plays_in_browsers_and_keeps_the_times(tmp_path: Path) -> None:
    times_ms = [0, 40, 300, 310, 320, 900, 1500, 1501, 1502, 2000]
    source = write_clip(tmp_path / "clip.mkv", codec="mpeg4", frames=10, times_ms=times_ms, size=(161, 121))
    told: list[int] = []
    make_proxy(source, tmp_path / "proxy.mp4", told.append)
    info = probe(tmp_path / "proxy.mp4", Limits())
    assert (info.codec, info.browser_plays, info.frames, told[-1]) == ("h264", True, 10, 10)
    assert (info.width % 2, info.height % 2) == (0, 0)
    copies = list(read_frames(tmp_path / "proxy.mp4", None, None))
    originals = list(read_frames(source, None, None))
    assert [f.time_s for f in copies] == pytest.approx([f.time_s for f in originals], abs=0.0005)
    assert [f.time_s for f in copies] == pytest.approx([t / 1000 for t in times_ms], abs=0.0005)
    data = (tmp_path / "proxy.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_proxy_stands_upright_and_is_not_too_wide(tmp_path: Path) -> None:
    source = set_matrix(write_clip(tmp_path / "clip.mp4", frames=3, size=(640, 1920)), 0, 1, -1, 0)
    make_proxy(source, tmp_path / "proxy.mp4")
    info = probe(tmp_path / "proxy.mp4", Limits())
    assert (info.width, info.height, info.rotation_deg) == (1280, 426, 0)
    image = next(read_frames(tmp_path / "proxy.mp4", None, None)).image
    assert image[4, -6, 2] > 180


def test_a_late_first_picture_stays_late(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mp4", frames=20, options={"bf": "0"})
    with av.open(str(source)) as given, av.open(str(tmp_path / "late.mkv"), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        sound = out.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts = 44100, 0
        out.mux(sound.encode(silence))
        out.mux(sound.encode(None))
        for packet in given.demux(video=0):
            if packet.pts is not None:
                packet.pts += int(1 / packet.time_base)
                packet.dts = packet.pts
                packet.stream = stream
                out.mux(packet)
    make_proxy(tmp_path / "late.mkv", tmp_path / "proxy.mp4")
    first = next(read_frames(tmp_path / "late.mkv", None, None)).time_s
    assert first > 0.9
    copies = [frame.time_s for frame in read_frames(tmp_path / "proxy.mp4", None, None)]
    assert copies[:2] == pytest.approx([0, first], abs=0.001)
    assert len(copies) == 21


def test_work_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "REPORT_S", -1.0)

    class Cancelled(Exception):
        pass

    def stop(frames: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        make_proxy(write_clip(tmp_path / "clip.mp4"), tmp_path / "proxy.mp4", stop)
    assert not (tmp_path / "proxy.mp4").exists()
    (tmp_path / "no.mp4").write_text("no clip")
    with pytest.raises(MediaError):
        make_proxy(tmp_path / "no.mp4", tmp_path / "proxy.mp4")
    assert not (tmp_path / "proxy.mp4").exists()


def test_a_clip_of_which_nothing_decodes_leaves_no_copy(tmp_path: Path) -> None:
    source = damage(write_clip(tmp_path / "clip.mp4"), 0, 60)
    with pytest.raises(MediaError, match="Not one picture"):
        make_proxy(source, tmp_path / "proxy.mp4")
    assert not (tmp_path / "proxy.mp4").exists()

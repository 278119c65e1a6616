"""Weights as files: inspected, fetched against servers that misbehave, exported, checked, measured."""

from __future__ import annotations

import http.server
import json
import re
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detection.vision.detector import load_detector
from detection.vision.draw import LABELS, draw_scene
from detection.vision.types import Detection, DetectorError, Image, Params
from detection.vision.weights import YARD, check, export_openvino, fetch, inspect, measure, probe_image, sha256
from tests.vision.scoring import recall_precision


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_openvino(YARD, tmp_path_factory.mktemp("export"))


# inspect


def test_a_pt_says_what_it_is():
    info = inspect(YARD)
    assert (info.runtime, info.labels, info.licence) == ("ultralytics", LABELS, "AGPL-3.0")
    assert (info.files, info.input_size) == ((YARD,), (320, 320))
    assert len(info.sha256) == 64


def test_an_openvino_folder_and_its_xml_are_the_same_model(exported: Path):
    info = inspect(exported)
    assert (info.runtime, info.labels, info.licence) == ("openvino", LABELS, "AGPL-3.0")
    assert [file.name for file in info.files] == ["metadata.yaml", "yard.bin", "yard.xml"]
    assert info.input_size == (320, 320)
    assert inspect(exported / "yard.xml") == info


@pytest.mark.needs_data
def test_the_real_openvino_model_is_known(data: Path):
    info = inspect(data / "models" / "yolo11n_int8_openvino_model")
    assert len(info.labels) == 80
    assert (info.labels[0], info.labels[2], info.input_size) == ("person", "car", (640, 640))


def test_the_hash_of_a_folder_is_that_of_its_files_and_nothing_else(exported: Path, tmp_path: Path):
    before = inspect(exported).sha256
    (exported / "notes.txt").write_text("not of the model")
    assert inspect(exported).sha256 == before
    (exported / "notes.txt").unlink()
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    other.write_bytes(b"2")
    assert sha256([one, other]) == sha256([other, one]) != sha256([one])
    assert sha256([one]) == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_file(**facts: str) -> bytes:
    """What of an ONNX file matters here: a version, a graph that is passed over, and metadata."""
    pairs = [field(14, field(1, key.encode()) + field(2, value.encode())) for key, value in facts.items()]
    return varint(1 << 3) + varint(9) + field(7, b"\x55" * 300) + varint(2 << 3 | 5) + b"\0" * 4 + b"".join(pairs)


def test_an_onnx_file_says_what_it_is(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(
        onnx_file(names="{0: 'cat', 1: 'dog'}", imgsz="[384, 640]", task="detect", license="MIT License (https://x)")
    )
    info = inspect(path)
    assert (info.runtime, info.labels, info.licence, info.input_size) == (
        "ultralytics", ("cat", "dog"), "MIT", (384, 640),
    )  # fmt: skip


def test_an_engine_says_what_it_is(tmp_path: Path):
    path = tmp_path / "model.engine"
    facts = json.dumps({"names": {"0": "cat", "10": "emu", "9": "dog"}, "imgsz": [640, 640]}).encode()
    path.write_bytes(len(facts).to_bytes(4, "little") + facts + b"\1\2\3")
    info = inspect(path)
    assert (info.labels, info.licence) == (("cat", "dog", "emu"), "unknown")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("absent.pt", None, "There is no file absent.pt"),
        ("notes.txt", b"hello", "not a kind of weights"),
        ("text.pt", b"hello", "holds no weights"),
        ("empty.onnx", b"", "no ONNX model"),
        ("cut.onnx", onnx_file(names="{0: 'cat'}", imgsz="[1, 1]")[:-3], "no ONNX model"),
        ("noise.onnx", b"\x07\xff\xfe", "no ONNX model"),
        ("segments.onnx", onnx_file(names="{0: 'cat'}", imgsz="[1, 1]", task="classify"), "only models for detection"),
        ("bare.onnx", onnx_file(names="{}", imgsz="[1, 1]"), "does not name its labels"),
        ("raw.engine", b"\xff\xff\xff\xff rest", "no engine that Ultralytics exported"),
        ("lone.engine", b"\x02\0\0\0{ rest", "no engine that Ultralytics exported"),
    ],
)
def test_what_is_no_model_is_refused_with_its_sentence(tmp_path: Path, name: str, content: bytes | None, sentence: str):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DetectorError, match=sentence) as refusal:
        inspect(tmp_path / name)
    assert refusal.value.permanent


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "has 0 .xml files"),
        ({"a.xml": "", "b.xml": ""}, "has 2 .xml files"),
        ({"a.xml": "", "metadata.yaml": "names: {0: x}"}, "lacks its a.bin"),
        ({"a.xml": "", "a.bin": ""}, "lacks its metadata.yaml"),
        ({"a.xml": "", "a.bin": "", "metadata.yaml": "names: {0: x"}, "cannot be read"),
        ({"a.xml": "", "a.bin": "", "metadata.yaml": "just text"}, "does not name its labels"),
        ({"a.xml": "", "a.bin": "", "metadata.yaml": "names: {0: x}\ntask: segment"}, "only models for detection"),
    ],
)
def test_an_incomplete_openvino_folder_is_refused_with_its_sentence(
    tmp_path: Path, files: dict[str, str], sentence: str
):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DetectorError, match=sentence):
        inspect(tmp_path)


def test_labels_may_be_a_list(tmp_path: Path):
    for name, text in {"a.xml": "", "a.bin": "", "metadata.yaml": "names: [x, y]\nimgsz: 320"}.items():
        (tmp_path / name).write_text(text)
    assert (inspect(tmp_path).labels, inspect(tmp_path).input_size) == (("x", "y"), (320, 320))


# fetch

LOAD_S = 25  # what starting the child may take while other tests keep the machine busy
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@pytest.fixture
def server() -> Iterator[Callable[[Answer], str]]:
    """Starts a server that answers every request in one way, and says where it is."""
    running: list[http.server.ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # the name that http.server looks for
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the client gave up, which some tests are about

            def log_message(self, *args):
                pass

        running.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        running[-1].daemon_threads = True
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield start
    for each in running:
        each.shutdown()
        each.server_close()


def sends(data: bytes, *, promised: int | None = None, pause_s: float = 0.0, piece: int = 1 << 20) -> Answer:
    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(promised or len(data)))
        request.end_headers()
        for at in range(0, len(data), piece):
            request.wfile.write(data[at : at + piece])
            request.wfile.flush()
            time.sleep(pause_s)

    return answer


def test_a_model_arrives_whole_and_loads(server, tmp_path: Path):
    asked: list[str] = []

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        sends(YARD.read_bytes())(request)

    path = fetch("yard", tmp_path / "models", server(answer), timeout_s=60)
    assert path == tmp_path / "models" / "yard.pt"
    assert path.read_bytes() == YARD.read_bytes()
    assert asked == ["/yard.pt"]
    assert [file.name for file in path.parent.iterdir()] == ["yard.pt"]


def test_progress_is_told_while_it_comes(server, tmp_path: Path):
    told: list[int] = []
    data = b"PK" + bytes(400_000)
    fetch("slow.pt", tmp_path, server(sends(data, pause_s=0.4, piece=100_000)), timeout_s=60, on_progress=told.append)
    assert told == sorted(told)
    assert any(0 < done < len(data) for done in told)
    assert (tmp_path / "slow.pt").read_bytes() == data


def refused(tmp_path: Path, base_url: str, timeout_s: float = 60.0, name: str = "yolo26n") -> DetectorError:
    with pytest.raises(DetectorError) as refusal:
        fetch(name, tmp_path, base_url, timeout_s=timeout_s)
    assert list(tmp_path.iterdir()) == [], "nothing half-written stays"
    return refusal.value


def test_a_trickle_is_cut_off_at_the_limit(server, tmp_path: Path):
    url = server(sends(b"PK" + bytes(10_000), pause_s=0.2, piece=10))
    started = time.monotonic()
    error = refused(tmp_path, url, timeout_s=4)
    assert time.monotonic() - started < 4 + LOAD_S
    assert "did not arrive within 4 s" in str(error)
    assert not error.permanent


def test_a_server_that_never_answers_is_cut_off_at_the_limit(tmp_path: Path):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        error = refused(tmp_path, f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=3)
    assert time.monotonic() - started < 3 + LOAD_S
    assert "did not arrive within 3 s" in str(error)


def test_a_dead_server_is_said_to_be_out_of_reach(tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        error = refused(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert "cannot be reached" in str(error)
    assert not error.permanent


@pytest.mark.parametrize(
    ("status", "sentence", "permanent"),
    [(404, "There is no model yolo26n", True), (403, r"refused yolo26n \(HTTP 403\)", False), (503, "HTTP 503", False)],
)
def test_a_refusal_is_told_by_its_status(server, tmp_path: Path, status: int, sentence: str, permanent: bool):
    error = refused(tmp_path, server(lambda request: request.send_error(status)))
    assert error.permanent is permanent
    assert re.search(sentence, str(error))


def test_a_file_that_ends_early_is_refused(server, tmp_path: Path):
    error = refused(tmp_path, server(sends(b"PK" + bytes(1000), promised=50_000)))
    assert not error.permanent


def test_a_login_page_is_no_model(server, tmp_path: Path):
    assert "login page" in str(refused(tmp_path, server(sends(b"<html>please log in</html>"))))


@pytest.mark.parametrize("name", ["../secrets", "a/b", "", ".hidden", "x y", "yolo26n?x=1"])
def test_a_name_that_is_none_is_refused_before_anything_is_asked(tmp_path: Path, name: str):
    assert refused(tmp_path, "http://127.0.0.1:9", name=name).permanent


def test_a_caller_who_stops_leaves_nothing_behind(server, tmp_path: Path):
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("yard", tmp_path, server(sends(b"PK" + bytes(100), pause_s=1, piece=10)), on_progress=stop)
    assert list(tmp_path.iterdir()) == []


# export, check, measure


def test_the_exported_model_finds_what_the_truth_says(exported: Path):
    detector = load_detector("openvino", exported, Params(min_score=0.4))
    check(detector, LABELS)
    found, truth = [], []
    for seed in range(900, 906):
        for image, objects in draw_scene(seed, 640, 360, 9, 1 / 3):
            found += detector.detect([image])
            truth.append(objects)
    recall, precision = recall_precision(found, truth)
    assert recall > 0.8
    assert precision > 0.8


def test_exporting_again_replaces_and_leaves_nothing_else(tmp_path: Path):
    first = export_openvino(YARD, tmp_path)
    (first / "old").write_text("")
    assert export_openvino(YARD, tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["yard_openvino_model"]
    assert not (first / "old").exists()
    assert not any(str(tmp_path) in file.read_text(errors="replace") for file in first.iterdir())


def test_an_export_that_fails_says_so(tmp_path: Path):
    bad = tmp_path / "bad.pt"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("nothing", "")
    with pytest.raises(DetectorError, match="could not be exported"):
        export_openvino(bad, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


class Oracle:
    """A detector that answers what it was told to."""

    labels = ("thing",)
    batch = 2
    needs_motion = False

    def __init__(self, *answers: Detection, pictures: int | None = None) -> None:
        self.answers, self.pictures, self.calls = list(answers), pictures, 0

    def detect(self, images: list[Image]) -> list[list[Detection]]:
        self.calls += 1
        time.sleep(0.01)
        return [self.answers for _ in range(len(images) if self.pictures is None else self.pictures)]

    def reset(self) -> None:
        """Nothing to forget."""


def test_a_sound_answer_passes_the_check():
    check(Oracle(Detection(0, 0, 300, 400, 0.5, "thing")), ["thing"])
    check(load_detector("motion", None, Params()), ["motion"])


@pytest.mark.parametrize(
    "answer",
    [
        Detection(0, 0, 1000, 40, 0.5, "thing"),
        Detection(0, -50, 100, 40, 0.5, "thing"),
        Detection(90, 0, 40, 40, 0.5, "thing"),
        Detection(0, 0, 40, 40, 57.0, "thing"),
        Detection(0, 0, 40, float("nan"), 0.5, "thing"),
        Detection(0, 0, 40, 40, 0.5, "other"),
    ],
)
def test_an_answer_that_makes_no_sense_fails_the_check(answer: Detection):
    with pytest.raises(DetectorError, match="makes no sense"):
        check(Oracle(answer))


def test_other_labels_or_missing_answers_fail_the_check():
    with pytest.raises(DetectorError, match="other labels"):
        check(Oracle(), ["thong"])
    with pytest.raises(DetectorError, match="answered 1 of 2"):
        check(Oracle(pictures=1))


def test_measure_tells_milliseconds_for_one_picture():
    oracle = Oracle()
    assert 4 < measure(oracle, (64, 48), seconds=0.1) < 40
    assert oracle.calls >= 4


def test_the_probe_image_is_always_the_same():
    assert probe_image(64, 48).shape == (48, 64, 3)
    assert (probe_image() == probe_image()).all()

"""What of the training script runs without torchvision: its pictures, the packing of weights, the card."""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path

import cv2
import pytest

from detection.vision.draw import LABELS, draw_scene
from detection.vision.training import FRAMES_PER_SCENE, SCENE_S, draw_set, pack_weights, write_card
from detection.vision.types import Params
from detection.vision.ultralytics import UltralyticsDetector
from detection.vision.weights import YARD, inspect


def test_training_pictures_come_with_their_truth(tmp_path: Path):
    assert draw_set(tmp_path / "set", [3]) == FRAMES_PER_SCENE
    frames = list(draw_scene(3, 640, 360, SCENE_S, FRAMES_PER_SCENE / SCENE_S))
    assert any(truth for _, truth in frames)
    for number, (_, truth) in enumerate(frames):
        picture = cv2.imread(str(tmp_path / "set" / "images" / f"0000003-{number}.jpg"))
        assert picture is not None
        assert picture.shape == (360, 640, 3)
        lines = (tmp_path / "set" / "labels" / f"0000003-{number}.txt").read_text().splitlines()
        assert len(lines) == len(truth)
        for line, box in zip(lines, truth, strict=True):
            label, x, y, width, height = (float(word) for word in line.split())
            assert LABELS[int(label)] == box.label
            assert ((x - width / 2) * 640, (y - height / 2) * 360) == pytest.approx((box.x1, box.y1), abs=0.01)
            assert ((x + width / 2) * 640, (y + height / 2) * 360) == pytest.approx((box.x2, box.y2), abs=0.01)


def test_packed_weights_load_and_name_no_folder_of_the_machine(tmp_path: Path):
    import torch

    UltralyticsDetector(YARD, Params())  # quiet before Ultralytics is imported by unpickling
    checkpoint = torch.load(YARD, map_location="cpu", weights_only=False)
    folder = "/home/somebody/secret-project"
    checkpoint["model"].float().yaml["yaml_file"] = f"{folder}/yard26.yaml"
    checkpoint |= {"train_args": checkpoint["train_args"] | {"data": f"{folder}/data.yaml"}, "optimizer": [0] * 1000}
    torch.save(checkpoint, tmp_path / "best.pt")
    pack_weights(tmp_path / "best.pt", tmp_path / "packed.pt")
    with zipfile.ZipFile(tmp_path / "packed.pt") as archive:
        assert not any(b"somebody" in archive.read(name) for name in archive.namelist())
    info = inspect(tmp_path / "packed.pt")
    assert (info.labels, info.licence, info.input_size) == (LABELS, "AGPL-3.0", (320, 320))
    assert (tmp_path / "packed.pt").stat().st_size < 2_000_000


def test_the_card_tells_the_figures_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "yard.pt"
    out.write_bytes(YARD.read_bytes())
    monkeypatch.setattr("sys.argv", ["training", "--out", str(out)])
    options = argparse.Namespace(out=out, scenes=240, epochs=13, size=320)
    write_card(options, {"train": 1200, "val": 60, "unseen": 300}, {"mAP50": 0.91234}, 12.3)
    card = out.with_suffix(".md").read_text()
    assert "| mAP50 | 0.912 |" in card
    assert "python -m detection.vision.training --out yard.pt" in card
    assert str(tmp_path) not in card


def test_the_committed_card_tells_a_measured_map_above_nine_tenths():
    figure = re.search(r"\| mAP50 \| ([0-9.]+) \|", YARD.with_suffix(".md").read_text())
    assert figure
    assert float(figure[1]) > 0.9

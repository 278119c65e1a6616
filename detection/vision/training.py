"""Trains the small model of the demo on scenes that our own code draws: ``python -m detection.vision.training``.

Needs torchvision beside torch, as any training by Ultralytics does. Takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import yaml

from detection.vision.draw import LABELS, draw_scene

HERE = Path(__file__).parent / "trained"
SHAPES = [(640, 360), (640, 360), (640, 480)]
FRAMES_PER_SCENE = 5
SCENE_S = 10.0
VALIDATION_SEED = 1_000_000  # training seeds count up from 0 and never reach it
# Depth, width and most channels of the layers: half as wide as YOLO26n, the smallest that Ultralytics defines.
SCALE = [0.5, 0.125, 1024]
# What of a run's settings is worth keeping in the weights; the rest names folders of the machine that trained them.
KEPT_ARGS = ("task", "imgsz", "epochs", "batch", "optimizer", "seed", "single_cls")


def draw_set(folder: Path, seeds: Iterable[int]) -> int:
    """Draw scenes as JPEGs with YOLO label files under ``folder``, and say how many pictures there are."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    count = 0
    for seed in seeds:
        width, height = SHAPES[seed % len(SHAPES)]
        scene = draw_scene(seed, width, height, SCENE_S, FRAMES_PER_SCENE / SCENE_S)
        for number, (image, truth) in enumerate(scene):
            name = f"{seed:07d}-{number}"
            lines = [
                f"{LABELS.index(d.label)} {(d.x1 + d.x2) / 2 / width:.6f} {(d.y1 + d.y2) / 2 / height:.6f} "
                f"{(d.x2 - d.x1) / width:.6f} {(d.y2 - d.y1) / height:.6f}\n"
                for d in truth
            ]
            (folder / "labels" / f"{name}.txt").write_text("".join(lines))
            cv2.imwrite(str(folder / "images" / f"{name}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            count += 1
    return count


def train(work: Path, epochs: int, size: int, batch: int) -> Path:  # pragma: no cover - needs torchvision and minutes
    """Train on ``work/train``, choosing the best epoch on ``work/val``; the path of the best weights."""
    from ultralytics.models import YOLO
    from ultralytics.utils import ROOT

    layout = yaml.safe_load((ROOT / "cfg/models/26/yolo26.yaml").read_text())
    layout |= {"nc": len(LABELS), "scale": "y", "scales": {"y": SCALE}}
    (work / "yard26.yaml").write_text(yaml.safe_dump(layout))
    data = {"path": str(work), "train": "train/images", "val": "val/images", "names": dict(enumerate(LABELS))}
    (work / "data.yaml").write_text(yaml.safe_dump(data))
    model = YOLO(str(work / "yard26.yaml"), task="detect")
    model.train(
        data=str(work / "data.yaml"), epochs=epochs, imgsz=size, batch=batch, project=str(work), name="run", seed=0,
        device="cpu", workers=1, cache="ram", plots=False, pretrained=False, amp=False, exist_ok=True,
        mosaic=0, scale=0.3, erasing=0, hsv_h=0.01, warmup_epochs=1, patience=epochs,
        # Ultralytics gathers gradients up to a batch of 64 unless told; many small steps are what there is time for.
        nbs=batch, optimizer="AdamW", lr0=0.002, lrf=0.02, cos_lr=True,
    )  # fmt: skip
    return work / "run" / "weights" / "best.pt"


def pack_weights(best: Path, target: Path) -> None:
    """The weights in half precision without optimiser, and without a path of the machine that trained them."""
    import torch

    checkpoint: dict[str, Any] = torch.load(best, map_location="cpu", weights_only=False)
    model = checkpoint.get("ema") or checkpoint["model"]
    args = {key: value for key, value in dict(checkpoint["train_args"]).items() if key in KEPT_ARGS}
    model = model.half()
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.args = dict(args)
    model.yaml = {key: value for key, value in model.yaml.items() if key != "yaml_file"}
    for name in ("criterion", "pt_path", "yaml_file"):
        if hasattr(model, name):
            delattr(model, name)
    packed = {"epoch": -1, "model": model, "train_args": args, "version": checkpoint["version"]}
    torch.save(packed | {"license": "AGPL-3.0", "task": "detect"}, target)


def measure(weights: Path, work: Path, size: int) -> dict[str, float]:  # pragma: no cover - needs torchvision
    """Mean average precision on ``work/unseen``, of scenes that training and the choice of the epoch never saw."""
    from ultralytics.models import YOLO

    data = {"path": str(work), "train": "unseen/images", "val": "unseen/images", "names": dict(enumerate(LABELS))}
    (work / "unseen.yaml").write_text(yaml.safe_dump(data))
    result = YOLO(str(weights)).val(
        data=str(work / "unseen.yaml"), imgsz=size, device="cpu", workers=0, plots=False, nms=False, verbose=False,
        project=str(work), name="unseen-run", exist_ok=True, batch=16,
    )  # fmt: skip
    figures = {"mAP50": float(result.box.map50), "mAP50-95": float(result.box.map)}
    for number, label in enumerate(LABELS):
        figures[f"mAP50 {label}"] = float(result.box.ap50[number])
    return figures | {"precision": float(result.box.mp), "recall": float(result.box.mr)}


CARD = """# yard.pt: the small model of the demo

A YOLO26 of half the width of YOLO26n ({parameters:,} parameters, {kilobytes:.0f} kB, half precision) for pictures that
`detection/vision/draw.py` draws, input {size} pixels. Labels: {labels}.

It knows drawn scenes only: it is the example of a fresh installation and what the tests measure against, and finds next
to nothing in real pictures. For those add a general model: `manage.py models add yolo26n`.

## How it was trained
From random weights on {train} pictures of drawn scenes (seeds 0 to {last_seed}), {epochs} epochs in {minutes:.1f}
minutes on {cores} shared CPU cores; the best epoch by {val} pictures of other scenes. No real picture was used.

    {command}

## Measured
On {unseen} pictures of scenes that neither training nor the choice of the epoch saw, NMS-free head:

| figure | value |
|---|---|
{rows}

Licence: AGPL-3.0. The layout of the layers is Ultralytics' YOLO26 (AGPL-3.0); the weights are our own.
"""


def main() -> None:  # pragma: no cover - needs torchvision and minutes
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "yard.pt")
    parser.add_argument("--scenes", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    work = Path(tempfile.mkdtemp(prefix="nightjar-training-"))
    os.environ["YOLO_CONFIG_DIR"] = str(work)
    try:
        counts = {
            "train": draw_set(work / "train", range(options.scenes)),
            "val": draw_set(work / "val", range(VALIDATION_SEED, VALIDATION_SEED + 12)),
            "unseen": draw_set(work / "unseen", range(2 * VALIDATION_SEED, 2 * VALIDATION_SEED + 60)),
        }
        started = time.perf_counter()
        best = train(work, options.epochs, options.size, options.batch)
        minutes = (time.perf_counter() - started) / 60
        options.out.parent.mkdir(parents=True, exist_ok=True)
        pack_weights(best, options.out)
        figures = measure(options.out, work, options.size)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(json.dumps(figures, indent=1))
    write_card(options, counts, figures, minutes)


def write_card(options: argparse.Namespace, counts: dict[str, int], figures: dict[str, float], minutes: float) -> None:
    """The model card beside the weights, with the figures as they were measured."""
    import torch

    model = torch.load(options.out, map_location="cpu", weights_only=False)["model"]
    card = CARD.format(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        kilobytes=options.out.stat().st_size / 1000,
        size=options.size,
        labels=", ".join(f"`{label}`" for label in LABELS),
        last_seed=options.scenes - 1,
        epochs=options.epochs,
        minutes=minutes,
        cores=os.cpu_count(),
        command=f"python -m detection.vision.training {shlex.join(sys.argv[1:])}".replace(str(options.out), "yard.pt"),
        rows="\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items()),
        **counts,
    )
    options.out.with_suffix(".md").write_text(card)


if __name__ == "__main__":
    main()

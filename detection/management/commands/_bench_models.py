"""Models for benches that measure everything but the detector: they take no time, and see the same in every picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detection.models import Model
from workers.registry import add_model


def activate_model_that_sees(things: int, folder: Path, size: int = 160) -> Model:
    """Makes a model that sees so many things side by side, whatever the picture, and activates it."""
    import openvino
    import yaml
    from openvino import opset13

    rows = np.zeros((1, 300, 6), np.float32)
    step = size / (things + 1)
    for thing in range(things):
        left = step * (thing + 0.6)
        rows[0, thing] = left, size * 0.25, left + step * 0.8, size * 0.75, 0.9, 0
    picture = opset13.parameter([1, 3, size, size], np.float32, name="images")
    nothing = opset13.multiply(opset13.reduce_mean(picture, np.array([0, 1, 2, 3]), False), np.float32(0))
    graph = openvino.Model([opset13.add(opset13.constant(rows), nothing)], [picture], "sees the same")
    folder.mkdir()
    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    facts = {"names": {0: "thing"}, "stride": 32, "task": "detect", "imgsz": [size, size], "license": "none"}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(facts))
    model = add_model(str(folder), None, lambda _: None)
    model.activate()
    return model

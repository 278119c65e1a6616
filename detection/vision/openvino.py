"""Detection with OpenVINO, its runtime called directly.

Pictures are prepared as Ultralytics prepares them (letterbox of grey 114, OpenCV's linear resize), so that a model says
here what it says there; bytes become numbers inside the graph, and several requests run at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

from detection.vision.nms import suppress
from detection.vision.types import Detection, DetectorError, Image, Params
from detection.vision.ultralytics import read_metadata

Floats = npt.NDArray[np.float32]

PAD_GREY = 114
MOST_BOXES = 300  # of one picture, as Ultralytics keeps
PICTURES_A_REQUEST = 4  # of one call for each request that runs at once
PRECISION = "f32"  # left to itself, a newer processor calculates in bfloat16 and gives other scores than an older one


class OpenVinoDetector:
    """A YOLO detection model in OpenVINO's format (IR), with Ultralytics' metadata.yaml beside it.

    Knows two output layouts: ``1 x (4 + labels) x N`` of centre boxes and label scores, with non-maximum suppression
    done here, and the ``1 x N x 6`` of end-to-end models: corners, score, label.
    """

    needs_motion = False

    def __init__(self, weights: Path | None, params: Params) -> None:
        """Load and compile. ``weights`` is the folder or the .xml. Raises DetectorError where that fails."""
        if weights is None:
            raise DetectorError("The openvino detector needs weights: a folder with an .xml file.", permanent=True)
        file = _model_file(weights)
        metadata = read_metadata(file.parent / "metadata.yaml")
        self.params = params
        self.labels = _labels(metadata)
        try:
            self._compile(file, metadata)
        except RuntimeError as error:
            raise DetectorError(
                f"OpenVINO cannot load {file.name}: it is damaged or too new.", permanent=True
            ) from error
        self.batch = PICTURES_A_REQUEST * len(self._queue)

    def _compile(self, file: Path, metadata: dict[str, Any]) -> None:
        import openvino as ov
        from openvino import properties
        from openvino.preprocess import PrePostProcessor

        core = ov.Core()
        model = core.read_model(file)
        if model.input().partial_shape.is_dynamic:
            height, width = metadata.get("imgsz", (640, 640))
            model.reshape([1, 3, height, width])
        _, _, self._height, self._width = model.input().shape
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
        steps.input().model().set_layout(ov.Layout("NCHW"))
        steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
        compiled = core.compile_model(
            steps.build(),
            "CPU",
            {
                properties.hint.performance_mode: properties.hint.PerformanceMode.THROUGHPUT,
                properties.hint.inference_precision: PRECISION,
            },
        )
        rows, columns = compiled.output(0).shape[1:]
        self._end_to_end = columns == 6 and rows != 4 + len(self.labels)
        if not self._end_to_end and rows != 4 + len(self.labels):
            raise DetectorError(
                f"{file.name} gives {rows} x {columns} numbers, no detection model of {len(self.labels)} labels.",
                permanent=True,
            )
        self._queue = ov.AsyncInferQueue(compiled, 0)
        self._queue.set_callback(self._keep)

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        """See Detector.detect. Any number of pictures of any sizes; those beyond the free requests wait for one."""
        outputs: list[Floats | None] = [None] * len(images)
        try:
            for index, image in enumerate(images):
                picture = letterbox(image, self._width, self._height)[None]
                self._queue.start_async({0: picture}, (outputs, index))
            self._queue.wait_all()
        except RuntimeError as error:
            raise DetectorError("OpenVINO failed while looking at a picture.", permanent=False) from error
        return [self._read(output, image) for output, image in zip(outputs, images, strict=True)]

    def reset(self) -> None:
        """Nothing to forget: each picture is looked at by itself."""

    @staticmethod
    def _keep(request: Any, place: tuple[list[Floats | None], int]) -> None:
        outputs, index = place
        outputs[index] = request.get_output_tensor(0).data[0].copy()

    def _read(self, output: Floats | None, image: Image) -> list[Detection]:
        if output is None or not np.isfinite(output).all():
            raise DetectorError("The model gave no usable numbers for a picture.", permanent=False)
        if self._end_to_end:
            boxes, scores, classes = output[:, :4], output[:, 4], output[:, 5].astype(np.intp)
        else:
            boxes, scores, classes = _corners(output)
        # An NMS-free head is trained to answer once for each object, and now and then answers twice.
        keep = suppress(boxes, scores, classes, self.params.min_score, self.params.iou)[:MOST_BOXES]
        placed = unletterbox(boxes[keep], image.shape[1], image.shape[0], self._width, self._height)
        return [
            Detection(x1, y1, x2, y2, float(scores[i]), self.labels[classes[i]])
            for (x1, y1, x2, y2), i in zip(placed.tolist(), keep, strict=True)
        ]


def _model_file(weights: Path) -> Path:
    if weights.suffix == ".xml" and weights.is_file():
        return weights
    files = sorted(weights.glob("*.xml")) if weights.is_dir() else []
    if len(files) != 1:
        raise DetectorError(
            "An OpenVINO model is a folder with one .xml file, its .bin and metadata.yaml.", permanent=True
        )
    return files[0]


def _labels(metadata: dict[str, Any]) -> tuple[str, ...]:
    """The labels of a detection model, in order of their numbers."""
    names = metadata.get("names")
    if not isinstance(names, dict) or not names:
        raise DetectorError("The model's metadata.yaml names no labels.", permanent=True)
    if metadata.get("task", "detect") != "detect":
        raise DetectorError(
            f"This model is for “{metadata['task']}”; only detection models can be used.", permanent=True
        )
    return tuple(str(name) for _, name in sorted(names.items()))


def _corners(output: Floats) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Corner boxes, best score and its label of the ``(4 + labels) x N`` layout."""
    centre_x, centre_y, width, height = output[:4]
    classes = output[4:].argmax(axis=0)
    scores = np.take_along_axis(output[4:], classes[None], axis=0)[0]
    half_w, half_h = width / 2, height / 2
    boxes = np.stack([centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], axis=1)
    return boxes, scores, classes


def _fit(width: int, height: int, into_w: int, into_h: int) -> tuple[float, int, int, int, int]:
    """The scale, the scaled size and the left and top margin of a picture centred in another size.

    Source: Ultralytics' LetterBox, whose margins are rounded with a slack of 0.1 pixel.
    """
    scale = min(into_w / width, into_h / height)
    scaled_w, scaled_h = round(width * scale), round(height * scale)
    return scale, scaled_w, scaled_h, round((into_w - scaled_w) / 2 - 0.1), round((into_h - scaled_h) / 2 - 0.1)


def letterbox(image: Image, into_w: int, into_h: int) -> Image:
    """The picture scaled to fit and centred on grey; ``into_h x into_w x 3``."""
    height, width = image.shape[:2]
    _, scaled_w, scaled_h, left, top = _fit(width, height, into_w, into_h)
    sheet = np.full((into_h, into_w, 3), PAD_GREY, dtype=np.uint8)
    part = sheet[top : top + scaled_h, left : left + scaled_w]
    if (scaled_w, scaled_h) == (width, height):
        part[:] = image
    elif scaled_w and scaled_h:
        part[:] = cast(Image, cv2.resize(image, (scaled_w, scaled_h), interpolation=cv2.INTER_LINEAR))
    return sheet


def unletterbox(boxes: Floats, width: int, height: int, into_w: int, into_h: int) -> Floats:
    """Boxes on the letterboxed picture, N x 4, as boxes in the picture's own pixels, cut at its edges."""
    scale, _, _, left, top = _fit(width, height, into_w, into_h)
    placed = (boxes - np.array([left, top, left, top], dtype=np.float32)) / np.float32(scale)
    return cast(Floats, placed.clip(0, np.array([width, height, width, height], dtype=np.float32)))

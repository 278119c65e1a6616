"""What is uploaded while everything dies: pictures and clips that our own code draws, all of different bytes.

Some are poison: they pass the probe, and take their worker process with them when somebody works on them. What makes
them poison is a mark at their very end, which only the workers of this test know (see app.py).
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image as PillowImage

from detection.vision.draw import draw_scene
from detection.vision.types import Image

FPS = 10
SCENE_S = 12.0
SIZE = (256, 144)
SHORT, LONG = (12, 28), (50, 110)  # frames; the long ones are several chunks of CHUNK_S
CHUNK_S = 2
STILLS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
# The last is one that browsers do not play: it gets a copy.
CLIPS = {
    ".mp4": "libx264",
    ".mov": "libx264",
    ".mkv": "libx264",
    ".webm": "libvpx",
    ".ts": "mpeg2video",
    ".avi": "mpeg4",
}
MARK = b"nightjar-chaos-poison:"
MARK_BYTES = 64
ALWAYS = 4  # of the poisons: the short form has no time for all of them

# What each poison does, and where; see app.py.
POISONS: dict[str, str] = {
    "crash": "a null pointer is read while it is looked at",
    "memory": "it eats memory while it is looked at, until its process is killed for it",
    "endless": "it hangs in native code for ever while it is looked at",
    "greedy": "the same, and no other thread of its process runs meanwhile",
    "exit": "its process leaves in the middle of it",
    "crash-plan": "a null pointer is read while it is planned",
    "crash-finish": "a null pointer is read while its thumbnails are cut",
    "crash-copy": "a null pointer is read while a copy that browsers can play is made",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A file to upload."""

    path: str
    sha256: str
    poison: str = ""

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def spoils_analysis(self) -> bool:
        """Whether its analysis must fail; of a file that only spoils its copy it must not."""
        return bool(self.poison) and self.poison != "crash-copy"


def make(folder: Path, count: int, seed: int, poisons_at_most: int) -> list[Sample]:
    """Draws so many files and one more of each poison, in the order in which they are to be uploaded."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    scenes = [_scene(seed * 100 + number) for number in range(2 + count // 40)]
    healthy = [_healthy(folder, number, scenes, rng) for number in range(count)]
    names = list(POISONS)
    chosen = names[:ALWAYS] + rng.sample(names[ALWAYS:], len(names) - ALWAYS)
    poisons = [_poison(folder, poison, scenes, rng) for poison in chosen[:poisons_at_most]]
    rng.shuffle(healthy)
    samples = list(healthy)
    # Among the first half, so that three attempts are over by the end; those that hang take longest and go first.
    slow = ("endless", "greedy")
    for sample in sorted(poisons, key=lambda sample: sample.poison not in slow):
        most = 4 if sample.poison in slow else max(4, len(samples) // 2)
        samples.insert(rng.randrange(most), sample)
    return samples


def save(samples: list[Sample], path: Path) -> None:
    path.write_text(json.dumps([asdict(sample) for sample in samples]))


def load(path: Path) -> list[Sample]:
    return [Sample(**facts) for facts in json.loads(path.read_text())]


def poison_of(path: Path) -> str:
    """Which poison a file is, or nothing."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MARK_BYTES))
        _, found, name = file.read().partition(MARK)
    return name.rstrip(b".").decode() if found else ""


def _scene(seed: int) -> list[Image]:
    width, height = SIZE
    frames = draw_scene(seed, width=width, height=height, seconds=SCENE_S, fps=FPS, parked=False)
    return [image for image, _ in frames]


def _healthy(folder: Path, number: int, scenes: list[list[Image]], rng: random.Random) -> Sample:
    scene = rng.choice(scenes)
    kind = number % 20
    if kind < 9:
        ending = list(STILLS)[number % len(STILLS)]
        return _still(folder / f"still-{number}{ending}", rng.choice(scene), rng)
    ending = list(CLIPS)[number % len(CLIPS)]
    frames = rng.randint(*(LONG if kind >= 15 else SHORT))
    return _clip(folder / f"{'long' if kind >= 15 else 'short'}-{number}{ending}", scene, frames, rng)


def _poison(folder: Path, poison: str, scenes: list[list[Image]], rng: random.Random) -> Sample:
    scene = rng.choice(scenes)
    if poison in ("memory", "exit"):
        sample = _still(folder / f"poison-{poison}.jpg", scene[40], rng)
    else:
        ending = ".avi" if poison == "crash-copy" else ".mp4"
        sample = _clip(folder / f"poison-{poison}{ending}", scene, SHORT[1], rng)
    path = Path(sample.path)
    mark = (MARK + poison.encode()).ljust(MARK_BYTES, b".")
    # In MP4 a box that players skip; behind the end of the others nobody looks.
    head = (8 + MARK_BYTES).to_bytes(4, "big") + b"free" if path.suffix == ".mp4" else b""
    with path.open("ab") as file:
        file.write(head + mark)
    return _sample(path, poison)


def _sample(path: Path, poison: str = "") -> Sample:
    return Sample(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), poison)


def _in_another_light(image: Image, light: float) -> Image:
    """No two files have the same bytes, though they show the same scenes."""
    return np.clip(image * light, 0, 255).astype(np.uint8)


def _still(path: Path, image: Image, rng: random.Random) -> Sample:
    picture = PillowImage.fromarray(_in_another_light(image, rng.uniform(0.75, 1.0)))
    picture.save(path, STILLS[path.suffix], quality=92)
    return _sample(path)


def _clip(path: Path, scene: list[Image], frames: int, rng: random.Random) -> Sample:
    """A stretch of the scene, with a key frame every second."""
    start, light = rng.randrange(len(scene) - frames + 1), rng.uniform(0.75, 1.0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CLIPS[path.suffix], rate=FPS if path.suffix != ".ts" else 25)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 900_000
        if CLIPS[path.suffix] == "libx264":
            stream.options = {"preset": "veryfast"}
        stream.codec_context.gop_size = FPS
        for image in scene[start : start + frames]:
            picture = av.VideoFrame.from_ndarray(_in_another_light(image, light), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return _sample(path)

"""The records. One noun a file; every change of state is a verb on its row."""

from detection.models.analysis import Analysis
from detection.models.camera import Camera
from detection.models.capture import Capture
from detection.models.chunk import Chunk
from detection.models.event import CameraEvent, Notification
from detection.models.heartbeat import Heartbeat
from detection.models.loose_file import FilesGone, LooseFile
from detection.models.media import Media
from detection.models.model import Model
from detection.models.proxy import Proxy
from detection.models.sighting import EarlierResult, Sighting
from detection.models.trial import Trial
from detection.models.verdict import Verdict
from detection.models.work import LeaseLost, Work

__all__ = [
    "Analysis",
    "Camera",
    "CameraEvent",
    "Capture",
    "Chunk",
    "EarlierResult",
    "FilesGone",
    "Heartbeat",
    "LeaseLost",
    "LooseFile",
    "Media",
    "Model",
    "Notification",
    "Proxy",
    "Sighting",
    "Trial",
    "Verdict",
    "Work",
]

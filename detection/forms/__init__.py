from detection.forms.camera import CameraForm
from detection.forms.filters import MediaFilter, SightingFilter, VerdictForm

__all__ = ["CameraForm", "MediaFilter", "SightingFilter", "VerdictForm"]

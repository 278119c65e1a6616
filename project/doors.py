"""What django-axes is told, which counts wrong passwords: how many, and for how long, is said in settings.py."""

from __future__ import annotations

from typing import Any

# Names and addresses are counted in pairs; addresses by themselves are counted by detection/lockout.py.
LOCKOUT: dict[str, Any] = {
    "AUTHENTICATION_BACKENDS": ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"],
    "AXES_HANDLER": "detection.lockout.Handler",
    "AXES_LOCKOUT_PARAMETERS": [["username", "ip_address"]],
    "AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT": False,
    "AXES_RESET_ON_SUCCESS": True,
    "AXES_CLIENT_IP_CALLABLE": "detection.lockout.address_of",
    "AXES_USERNAME_CALLABLE": "detection.lockout.name_of",
    "AXES_LOCKOUT_CALLABLE": "detection.views.doors.locked_out",
    "AXES_DISABLE_ACCESS_LOG": True,  # who logged in is in our log, and nothing else of it is kept
    "AXES_VERBOSE": False,
}

"""Gunicorn's settings, and how the pages stop: not ready first, then what is asked is finished."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from project.web_patience import PatientWorker

DRAIN_S = 1.0  # answering still, but not ready any more: for who asks, as a proxy does, to send nothing new
STOP_S = 8  # then what is under way is cut off: a page is long answered, and an upload is whole or gone

bind = [f"{os.environ.get('HOST') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"]
workers = int(os.environ.get("WEB_PROCESSES") or 1)
threads = int(os.environ.get("WEB_THREADS") or 32)
worker_class = "project.web_server.Worker"
preload_app = True
graceful_timeout = STOP_S
control_socket_disable = True
# Whose word counts is for TRUSTED_PROXIES to say (detection/address.py): gunicorn would believe all of this machine.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
logger_class = "project.web_log.WebLog"


class Worker(PatientWorker):
    """Goes on answering for a moment after it was asked to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        from detection.health import stop_being_ready

        stop_being_ready()
        # A timer, as this interrupts the loop that accepts connections, which is to go on.
        timer = threading.Timer(DRAIN_S, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C reaches all processes of a terminal at once, and is polite to this one as well."""
        stop = self.handle_exit if sig == signal.SIGINT else super().handle_quit
        stop(sig, frame)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Once it stops, its socket is closed: left open, the system would let people in that nobody answers."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()


def when_ready(server: Any) -> None:
    """Ctrl-C is a polite request here, as SIGTERM is; gunicorn would cut off everybody."""
    server.handle_int = server.handle_term
    server.log.info("Stops within %g s of SIGTERM or SIGINT", STOP_S)

"""gunicorn's own lines, in the log of all others."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class WebLog(Logger):
    """Leaves the writing to the handler that Django has set up; each request's line is ours already."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.access_log.disabled = True

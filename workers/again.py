"""The word between a step and its task."""


class TryAgain(Exception):
    """A failure that may pass; the row was handed back and is free to be claimed after ``delay_s``."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(f"again in {delay_s:.0f} s")
        self.delay_s = delay_s

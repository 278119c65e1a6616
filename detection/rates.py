"""How often something may be asked for, as people write it: “20/m” is twenty times a minute."""

from __future__ import annotations

import re
from dataclasses import dataclass

PERIODS_S = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each period; 0 is no limit."""

    count: int
    period_s: int

    @classmethod
    def read(cls, given: str) -> Rate:
        """Raises ValueError that says what it must be."""
        match = re.fullmatch(r"\s*(\d{1,9})\s*(?:/\s*([smh]))?\s*", given)
        if not match or (match[2] is None and int(match[1]) > 0):
            raise ValueError("such as 20/m (or /s, /h), or 0 for no limit")
        return cls(int(match[1]), PERIODS_S[match[2] or "m"])

"""How the system is: looked at (probing, probes), taken down (snapshot), judged (verdict), and told (notice)."""

from detection.health.snapshot import Snapshot, take
from detection.health.stopping import is_stopping, stop_being_ready
from detection.health.verdict import Reason, State, Verdict, judge

__all__ = ["Reason", "Snapshot", "State", "Verdict", "is_stopping", "judge", "stop_being_ready", "take"]

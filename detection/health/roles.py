"""What must be done by some worker for the system to be whole, and by which queues that shows."""

from __future__ import annotations

from dataclasses import dataclass

ANALYSING = ("again", "analyse", "chunks", "finish", "bulk-analyse", "bulk-chunks", "bulk-finish")


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of work."""

    queues: tuple[str, ...]
    missed: str  # the sentence where no worker does it
    needs_cameras: bool = False  # only where there are cameras in service


ROLES = (
    Role(ANALYSING, "No worker analyses: what comes in is kept, and is analysed when one is back."),
    Role(("grab",), "No worker takes pictures from cameras: their captures are missed.", needs_cameras=True),
    Role(("probe",), "No worker asks cameras that are in trouble: they stay so.", needs_cameras=True),
    Role(("notify",), "No worker sends notifications: they are sent when one is back.", needs_cameras=True),
    Role(("proxies",), "No worker makes copies that browsers can play: they are made when one is back."),
    Role(("housekeeping",), "No worker sweeps: nothing is planned, and what is lost is not sent again."),
)
ALL_QUEUES = tuple(queue for role in ROLES for queue in role.queues)

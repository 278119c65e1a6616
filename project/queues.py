"""Celery's settings: its queues, its timetable, and how a message is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

VISIBILITY_TIMEOUT_S = 6 * 3600  # far above any task: leases, not the broker, find lost work
# No answer for so long is taken for an outage. A message takes three of them, well below WATCHDOG_S: workers and beat
# must not be killed for waiting for a broker that hangs.
BROKER_HANGS_S = 5


def celery_settings(
    *,
    broker_url: str,
    data_dir: Path,
    sweep_s: float,
    time_limit_s: int,
    proxy_time_limit_s: int,
    max_memory_bytes: int = 0,
) -> dict[str, Any]:
    """What Celery is given, and nothing else: Flower and `celery inspect conf` show it."""
    found: dict[str, Any] = {
        "broker_url": broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_ignore_result": True,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure_or_timeout": True,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 8,
        "worker_lost_wait": 1.0,  # after a process has died, until that is believed
        "worker_hijack_root_logger": False,
        # Theirs, with signs of life (workers/heartbeat.py).
        "worker_consumer": "workers.consumer:Consumer",
        "beat_scheduler": "workers.beat:Scheduler",
        "worker_max_memory_per_child": max_memory_bytes // 1024 or None,  # in KiB
        "worker_send_task_events": True,
        # The soft limit says so on the row; the hard one is for what hangs in native code.
        "task_soft_time_limit": time_limit_s,
        "task_time_limit": time_limit_s + 60,
        "task_annotations": {
            "workers.tasks.make_proxy": {"soft_time_limit": proxy_time_limit_s, "time_limit": proxy_time_limit_s + 60}
        },
        # Once more at once: a connection that was idle while the broker started anew is dead. The sweep does the rest.
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_step": 0.2},
        "task_default_queue": "housekeeping",
        # A queue for each step: a worker takes from them in turn, so that of many media that come in at once the first
        # are finished while the last still wait. In one queue all would be planned first and finished last.
        "task_routes": {
            "workers.tasks.make_proxy": {"queue": "proxies"},
            # Of analyses that nobody waits for, these go through “bulk-analyse” and so on (workers/lanes.py).
            "workers.tasks.analyse": {"queue": "analyse"},
            "workers.tasks.analyse_chunk": {"queue": "chunks"},
            "workers.tasks.finish": {"queue": "finish"},
            "workers.tasks.sweep": {"queue": "housekeeping"},
            "workers.tasks.tidy": {"queue": "housekeeping"},
            "workers.tasks.prune": {"queue": "housekeeping"},
            "workers.tasks.notify": {"queue": "notify"},
            # Cameras in trouble have a queue of their own, see Camera.queue.
            "workers.tasks.grab": {"queue": "grab"},
            "workers.tasks.try_source": {"queue": "grab"},
        },
        "beat_schedule": {
            # What nobody took for long has nothing to add to the next one. Not sooner: beat's clock says when that is,
            # and a worker whose own clock is off by more would drop every one of them.
            "sweep": {"task": "workers.tasks.sweep", "schedule": sweep_s, "options": {"expires": 600.0}},
            "tidy": {"task": "workers.tasks.tidy", "schedule": 10.0, "options": {"expires": 600.0}},
            "prune": {"task": "workers.tasks.prune", "schedule": 3600.0, "options": {"expires": 3600.0}},
        },
        "beat_schedule_filename": str(data_dir / "beat-schedule"),
        "timezone": "UTC",
    }
    if broker_url.startswith(("redis", "unix", "sentinel")):
        found["broker_transport_options"] = {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": BROKER_HANGS_S,
            "socket_connect_timeout": BROKER_HANGS_S,
        }
    elif broker_url.startswith(("amqp", "pyamqp")):
        found["broker_transport_options"] = {"read_timeout": BROKER_HANGS_S, "write_timeout": BROKER_HANGS_S}
    return found

from django.apps import AppConfig


class DetectionConfig(AppConfig):
    name = "detection"
    verbose_name = "Nightjar"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created

        from detection import (
            checks,  # noqa: F401  # registers them
            timing,
        )

        connection_created.connect(timing.watch, dispatch_uid="timing")

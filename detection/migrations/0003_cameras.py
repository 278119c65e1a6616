"""Cameras with their schedules and addresses, what becomes of each planned time, and who is told."""

import django.db.models.deletion
import django.utils.timezone
from django.apps.registry import Apps
from django.conf import settings
from django.contrib.auth.management import create_permissions
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

import detection.fields

MORE = {
    "viewer": ["view_cameraevent"],
    "reviewer": ["view_cameraevent"],
    "operator": ["view_cameraevent", "view_notification"],
}


def fill(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Cameras had neither an address nor a schedule so far: they wait for somebody to enter both."""
    apps.get_model("detection", "Camera").objects.update(state="disabled")
    # Django makes permissions only after all migrations; the groups need them now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permission = apps.get_model("auth", "Permission")
    for name, codenames in MORE.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.add(*permission.objects.filter(content_type__app_label="detection", codename__in=codenames))


class Migration(migrations.Migration):
    dependencies = [
        ("detection", "0002_groups_and_motion"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CameraEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[("offline", "went offline"), ("frozen", "is frozen"), ("back", "is back")],
                        editable=False,
                        max_length=8,
                    ),
                ),
                ("at", models.DateTimeField(db_index=True, editable=False)),
                ("why", models.CharField(blank=True, editable=False, max_length=500)),
            ],
            options={
                "ordering": ["-at", "-pk"],
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("worker", models.CharField(blank=True, editable=False, max_length=100)),
                ("lease", models.UUIDField(editable=False, null=True, unique=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("sent_at", models.DateTimeField(editable=False, null=True)),
                ("started_at", models.DateTimeField(editable=False, null=True)),
                ("finished_at", models.DateTimeField(editable=False, null=True)),
                ("error_kind", models.CharField(blank=True, editable=False, max_length=40)),
                (
                    "error",
                    models.CharField(blank=True, editable=False, max_length=1000, verbose_name="what went wrong"),
                ),
                ("error_detail", models.TextField(blank=True, editable=False, verbose_name="technical detail")),
                (
                    "channel",
                    models.CharField(
                        choices=[("email", "e-mail"), ("webhook", "webhook"), ("apprise", "Apprise")],
                        editable=False,
                        max_length=8,
                    ),
                ),
                ("due_at", models.DateTimeField(editable=False)),
            ],
            options={
                "ordering": ["-pk"],
            },
        ),
        migrations.CreateModel(
            name="Trial",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        editable=False,
                        max_length=10,
                    ),
                ),
                ("attempts", models.PositiveSmallIntegerField(default=0, editable=False)),
                ("worker", models.CharField(blank=True, editable=False, max_length=100)),
                ("lease", models.UUIDField(editable=False, null=True, unique=True)),
                ("lease_until", models.DateTimeField(editable=False, null=True)),
                ("sent_at", models.DateTimeField(editable=False, null=True)),
                ("started_at", models.DateTimeField(editable=False, null=True)),
                ("finished_at", models.DateTimeField(editable=False, null=True)),
                ("error_kind", models.CharField(blank=True, editable=False, max_length=40)),
                (
                    "error",
                    models.CharField(blank=True, editable=False, max_length=1000, verbose_name="what went wrong"),
                ),
                ("error_detail", models.TextField(blank=True, editable=False, verbose_name="technical detail")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("rtsp", "RTSP stream"),
                            ("http", "HTTP picture (JPEG)"),
                            ("mjpeg", "HTTP stream (MJPEG)"),
                            ("usb", "USB camera of the worker's machine"),
                            ("file", "file that plays in a loop"),
                        ],
                        editable=False,
                        max_length=5,
                    ),
                ),
                ("address", detection.fields.SecretField(editable=False)),
                ("rtsp_transport", models.CharField(default="tcp", editable=False, max_length=3)),
                ("verify_tls", models.BooleanField(default=True, editable=False)),
                ("requested_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("picture", models.BinaryField(default=b"")),
                ("width", models.PositiveIntegerField(default=0, editable=False)),
                ("height", models.PositiveIntegerField(default=0, editable=False)),
                ("took_s", models.FloatField(default=0, editable=False)),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.RemoveField(
            model_name="camera",
            name="is_enabled",
        ),
        migrations.AddField(
            model_name="camera",
            name="accounted_until",
            field=models.DateTimeField(
                editable=False, help_text="Every planned time up to this one has its record.", null=True
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="active_from",
            field=models.TimeField(blank=True, help_text="Empty: all day.", null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="active_until",
            field=models.TimeField(
                blank=True, help_text="Earlier than “from”: over midnight, counted to the day it began on.", null=True
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="address",
            field=detection.fields.SecretField(blank=True, default="", editable=False),
        ),
        migrations.AddField(
            model_name="camera",
            name="alarm",
            field=models.CharField(
                blank=True, editable=False, help_text="The trouble people were last told of.", max_length=8
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="breaker_s",
            field=models.FloatField(default=0, editable=False, help_text="Open circuit: seconds between two tries."),
        ),
        migrations.AddField(
            model_name="camera",
            name="cron",
            field=models.CharField(
                blank=True,
                help_text="Such as */5 6-20 * * 1-5, in the camera's time zone.",
                max_length=100,
                verbose_name="cron expression",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="days",
            field=models.CharField(
                default="1234567", help_text="1 is Monday, 7 is Sunday.", max_length=7, verbose_name="active days"
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="every_s",
            field=models.PositiveIntegerField(default=60, verbose_name="seconds between pictures"),
        ),
        migrations.AddField(
            model_name="camera",
            name="failing_since",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="failures",
            field=models.PositiveIntegerField(default=0, editable=False, help_text="Failed captures in a row."),
        ),
        migrations.AddField(
            model_name="camera",
            name="fingerprint",
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name="camera",
            name="frozen_after",
            field=models.PositiveIntegerField(
                default=5, help_text="The very same picture so often in a row is a frozen camera. 0: never."
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="is_analysed",
            field=models.BooleanField(
                default=True,
                help_text="Off: pictures are kept, and nothing is looked for in them.",
                verbose_name="analyse its pictures",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="jitter_s",
            field=models.PositiveIntegerField(
                default=0,
                help_text="Each time is moved by a random part of this, so that not all come at once.",
                verbose_name="jitter in seconds",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="last_good_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="last_media",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="detection.media",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="latitude",
            field=models.FloatField(blank=True, help_text="Degrees north, such as 52.52.", null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="longitude",
            field=models.FloatField(blank=True, help_text="Degrees east, such as 13.40.", null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="next_at",
            field=models.DateTimeField(editable=False, help_text="When it is next to be grabbed.", null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="rtsp_transport",
            field=models.CharField(
                choices=[("tcp", "TCP"), ("udp", "UDP")], default="tcp", max_length=3, verbose_name="RTSP transport"
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="same_count",
            field=models.PositiveIntegerField(default=0, editable=False, help_text="Times in a row with this picture."),
        ),
        migrations.AddField(
            model_name="camera",
            name="same_since",
            field=models.DateTimeField(editable=False, help_text="When this picture was first seen.", null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="schedule",
            field=models.CharField(
                choices=[
                    ("every", "every so many seconds"),
                    ("cron", "cron expression"),
                    ("sun", "sunrise and sunset"),
                ],
                default="every",
                max_length=5,
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="source",
            field=models.CharField(
                choices=[
                    ("rtsp", "RTSP stream"),
                    ("http", "HTTP picture (JPEG)"),
                    ("mjpeg", "HTTP stream (MJPEG)"),
                    ("usb", "USB camera of the worker's machine"),
                    ("file", "file that plays in a loop"),
                ],
                default="rtsp",
                max_length=5,
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="state",
            field=models.CharField(
                choices=[
                    ("new", "waits for its first picture"),
                    ("ok", "ok"),
                    ("failing", "failing"),
                    ("offline", "offline"),
                    ("frozen", "frozen"),
                    ("disabled", "paused"),
                ],
                db_index=True,
                default="new",
                editable=False,
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="state_since",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="camera",
            name="sunrise_offset_min",
            field=models.SmallIntegerField(
                blank=True,
                help_text="Below 0: before it. Empty: not at sunrise.",
                null=True,
                verbose_name="minutes after sunrise",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="sunset_offset_min",
            field=models.SmallIntegerField(
                blank=True,
                help_text="Below 0: before it. Empty: not at sunset.",
                null=True,
                verbose_name="minutes after sunset",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="verify_tls",
            field=models.BooleanField(
                default=True,
                help_text="Of https; off for cameras that signed their own.",
                verbose_name="check the certificate",
            ),
        ),
        migrations.AddField(
            model_name="camera",
            name="why",
            field=models.CharField(
                blank=True, editable=False, help_text="Why the last capture failed.", max_length=500
            ),
        ),
        migrations.AddField(
            model_name="capture",
            name="finished_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="capture",
            name="is_manual",
            field=models.BooleanField(default=False, editable=False, help_text="A person asked for it."),
        ),
        migrations.AddField(
            model_name="capture",
            name="kind",
            field=models.CharField(blank=True, editable=False, max_length=20, verbose_name="kind of failure"),
        ),
        migrations.AddField(
            model_name="capture",
            name="last_at",
            field=models.DateTimeField(
                editable=False, help_text="The last of the planned times it stands for.", null=True
            ),
        ),
        migrations.AddField(
            model_name="capture",
            name="lease",
            field=models.UUIDField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="capture",
            name="lease_until",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="capture",
            name="requested_by",
            field=models.ForeignKey(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="capture",
            name="sent_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="capture",
            name="started_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="capture",
            name="times",
            field=models.PositiveIntegerField(
                default=1, editable=False, help_text="How many planned times it stands for."
            ),
        ),
        migrations.AddField(
            model_name="capture",
            name="tried",
            field=models.JSONField(default=list, editable=False, help_text="Each failed attempt: when, kind, why."),
        ),
        migrations.AddField(
            model_name="capture",
            name="until",
            field=models.DateTimeField(editable=False, help_text="Until when it is worth grabbing.", null=True),
        ),
        migrations.AddField(
            model_name="capture",
            name="worker",
            field=models.CharField(blank=True, editable=False, max_length=100),
        ),
        migrations.AlterField(
            model_name="media",
            name="captured_at_source",
            field=models.CharField(
                blank=True,
                choices=[
                    ("camera", "the camera's clock"),
                    ("capture", "when it was grabbed"),
                    ("container", "the file's own record"),
                    ("person", "a person"),
                    ("", "not known"),
                ],
                default="",
                max_length=10,
            ),
        ),
        migrations.AddIndex(
            model_name="camera",
            index=models.Index(
                condition=models.Q(("next_at__isnull", False)), fields=["next_at"], name="camera_next_at"
            ),
        ),
        migrations.AddIndex(
            model_name="capture",
            index=models.Index(condition=models.Q(("state", "planned")), fields=["until"], name="capture_open"),
        ),
        migrations.AddField(
            model_name="cameraevent",
            name="camera",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="events",
                to="detection.camera",
            ),
        ),
        migrations.AddField(
            model_name="notification",
            name="event",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="notifications",
                to="detection.cameraevent",
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="requested_by",
            field=models.ForeignKey(
                editable=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="analysis",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)), fields=["id"], name="analysis_unfinished"
            ),
        ),
        migrations.AddIndex(
            model_name="chunk",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)), fields=["id"], name="chunk_unfinished"
            ),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)), fields=["id"], name="notification_unfinished"
            ),
        ),
        migrations.AddConstraint(
            model_name="notification",
            constraint=models.UniqueConstraint(fields=("event", "channel"), name="one_notification_a_channel"),
        ),
        migrations.AddIndex(
            model_name="capture",
            index=models.Index(
                condition=models.Q(("state", "planned")), fields=["camera"], name="capture_open_of_camera"
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]

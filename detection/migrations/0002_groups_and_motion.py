"""The three groups with their permissions, and the detector that needs no weights."""

from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

VIEW = [f"view_{name}" for name in ("analysis", "camera", "capture", "media", "model", "sighting", "verdict")]
REVIEW = ["add_verdict"]
OPERATE = [
    "add_media",
    "change_media",
    "delete_media",
    "run_analysis",
    "add_camera",
    "change_camera",
    "delete_camera",
    "change_model",
]
GROUPS = {"viewer": VIEW, "reviewer": VIEW + REVIEW, "operator": VIEW + REVIEW + OPERATE}


def fill(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    # Django makes permissions only after all migrations; the groups need them now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    permission = apps.get_model("auth", "Permission")
    for name, codenames in GROUPS.items():
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=name)
        group.permissions.add(*permission.objects.filter(content_type__app_label="detection", codename__in=codenames))
    apps.get_model("detection", "Model").objects.get_or_create(
        name="motion",
        defaults={
            "runtime": "motion",
            "labels": ["motion"],
            "licence": "AGPL-3.0-or-later",
            "source": "part of Nightjar",
            "is_active": True,
        },
    )


class Migration(migrations.Migration):
    dependencies = [
        ("detection", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]

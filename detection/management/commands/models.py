"""Adds, lists and activates models."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.models import Model
from detection.vision.types import DetectorError


class Command(BaseCommand):
    help = "Add, list and activate the models that look for objects."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|activate")
        add = actions.add_parser("add", help="add a model from a file or folder, or by name from the network")
        add.add_argument(
            "what",
            metavar="PATH|NAME",
            help="a .pt, .onnx or .engine file, an OpenVINO folder, or a name such as yolo26n",
        )
        add.add_argument("--name", help="what to call it; default: the file's name")
        add.add_argument("--activate", action="store_true", help="use it for new analyses")
        actions.add_parser("list", help="list the models")
        activate = actions.add_parser("activate", help="use a model for new analyses")
        activate.add_argument("name")

    def handle(self, *, action: str, **options: Any) -> None:
        if action == "add":
            self._add(options["what"], options["name"], activate=options["activate"])
        elif action == "activate":
            self._activate(options["name"])
        else:
            self._list()

    def _add(self, what: str, name: str | None, *, activate: bool) -> None:
        from workers.registry import add_model

        try:
            model = add_model(what, name, self.stdout.write)
        except DetectorError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(
            f"“{model.name}” is there: {model.get_runtime_display()}, {len(model.labels)} labels, "
            f"{model.ms_per_image:.0f} ms an image, licence {model.licence or 'unknown'}."
        )
        if activate:
            self._activate(model.name)
        elif not model.is_active:
            self.stdout.write(f"Use it for new analyses: manage.py models activate {model.name}")

    def _activate(self, name: str) -> None:
        model = Model.objects.filter(name=name).first()
        if model is None:
            known = ", ".join(Model.objects.values_list("name", flat=True))
            raise CommandError(f"There is no model “{name}”; there are {known}.")
        model.activate()
        self.stdout.write(f"“{model.name}” is active: new analyses use it.")

    def _list(self) -> None:
        for model in Model.objects.all():
            mark = "*" if model.is_active else " "
            speed = "" if model.ms_per_image is None else f"{model.ms_per_image:.0f} ms an image"
            self.stdout.write(
                f"{mark} {model.name:24} {model.runtime:12} {len(model.labels):4} labels  {speed:18} {model.licence}"
            )
        self.stdout.write("* is active")

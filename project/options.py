"""What can be set in the environment: each option is declared once, where settings.py reads it.

The declaration holds its name, default and meaning, so that the table in docs/operating.md and .env.example are made
from the code (`manage.py options`). A wrong value is noted and the default taken in its place, so that all that is
wrong can be told at once; settings.py then refuses to go on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")
UNITS = {"": 1, "b": 1} | {
    f"{letter}{ending}": base ** (power + 1)
    for power, letter in enumerate("kmgt")
    for ending, base in (("b", 1000), ("ib", 1024))
}
FROM_DJANGO = {"DJANGO_SETTINGS_MODULE"}


@dataclass(frozen=True, slots=True)
class Option:
    """One variable of the environment."""

    name: str
    group: str
    default: str  # as people write it; empty: none
    in_words: bool  # the default is no value, but says where one comes from
    meaning: str
    example: str  # a line of .env.example shows this, or else the default
    secret: bool  # never shown


class Reader:
    """Reads options, and remembers what they are and what is wrong with them."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self._group = ""
        self.options: list[Option] = []
        self.problems: list[str] = []

    def group(self, name: str) -> None:
        """What is declared from here on belongs together."""
        self._group = name

    def problem(self, sentence: str) -> None:
        self.problems.append(sentence)

    def text(
        self,
        name: str,
        default: str,
        meaning: str,
        *,
        shown: str | None = None,
        example: str = "",
        secret: bool = False,
    ) -> str:
        """A text; ``shown`` stands for a default that differs from machine to machine."""
        self.options.append(
            Option(
                name=name,
                group=self._group,
                default=default if shown is None else shown,
                in_words=shown is not None,
                meaning=meaning,
                example=example,
                secret=secret,
            )
        )
        return self._given.get(name, "") or default

    def parsed(
        self,
        name: str,
        default: str,
        meaning: str,
        parse: Callable[[str], T],
        *,
        shown: str | None = None,
        example: str = "",
        secret: bool = False,
    ) -> T:
        """What ``parse`` makes of a text; its ValueError says what the text must be, and never what it was."""
        given = self.text(name, default, meaning, shown=shown, example=example, secret=secret)
        try:
            return parse(given)
        except ValueError as error:
            # An address that does not fit may be one with a password in it, whatever the setting.
            is_shown = not secret and "@" not in given and "://" not in given
            self.problem(f"{name} must be {error}{f', not “{given}”' if is_shown else ''}.")
            return parse(default)

    def flag(self, name: str, default: bool, meaning: str) -> bool:
        return self.parsed(name, str(default).lower(), meaning, _flag)

    def whole(self, name: str, default: int, meaning: str, *, least: int = 1, most: int = 2**62) -> int:
        def parse(given: str) -> int:
            number = int(given) if re.fullmatch(r"\s*[+-]?\d{1,30}\s*", given) else least - 1
            if not least <= number <= most:
                raise ValueError(f"a whole number from {least} to {most}")
            return number

        return self.parsed(name, str(default), meaning, parse)

    def size(self, name: str, default: str, meaning: str, *, least: int = 1) -> int:
        """A number of bytes, as 500MB or 8GiB."""

        def parse(given: str) -> int:
            found = re.fullmatch(r"\s*(\d{1,20})\s*([A-Za-z]*)\s*", given)
            if not found or found[2].lower() not in UNITS or int(found[1]) * UNITS[found[2].lower()] < least:
                raise ValueError(f"a number of bytes{' above 0' if least else ''}, such as 500MB or 8GiB")
            return int(found[1]) * UNITS[found[2].lower()]

        return self.parsed(name, default, meaning, parse)

    def number(self, name: str, default: float, meaning: str, *, least: float = 0.0, zero: bool = False) -> float:
        """A number above ``least``, or from it on where ``zero`` allows that itself."""

        def parse(given: str) -> float:
            try:
                number = float(given)
            except ValueError:
                number = float("nan")
            if not (least < number < float("inf") or (zero and number == least)):
                raise ValueError(f"a number {'from' if zero else 'above'} {least:g}{' on' if zero else ''}")
            return number

        return self.parsed(name, f"{default:g}", meaning, parse)

    def words(
        self,
        name: str,
        default: str,
        meaning: str,
        *,
        example: str = "",
        secret: bool = False,
        shown: str | None = None,
    ) -> list[str]:
        """A list, with commas between."""
        given = self.text(name, default, meaning, example=example, secret=secret, shown=shown)
        return [word.strip() for word in given.split(",") if word.strip()]

    def unknown(self, path: Path) -> list[str]:
        """Sentences about names in a .env file that are no options, and are therefore of no effect."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        known = {option.name for option in self.options} | FROM_DJANGO
        names = dict.fromkeys(re.findall(r"^[ \t]*(?:export\s+)?([A-Za-z_]\w*)[ \t]*=", text, re.MULTILINE))
        sentences = []
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name.upper(), known, 1)
                hint = f": did you mean {near[0]}?" if near else "."
                sentences.append(f"{name} in {path} is no setting of Nightjar and has no effect{hint}")
        return sentences


def _flag(given: str) -> bool:
    word = given.strip().lower()
    if word not in YES + NO:
        raise ValueError("true or false")
    return word in YES


def markdown(options: list[Option]) -> str:
    """The tables of docs/operating.md."""
    lines: list[str] = []
    for group in dict.fromkeys(option.group for option in options):
        lines += [f"### {group}", "", "| setting | default | what it does |", "|---|---|---|"]
        for option in options:
            if option.group == group:
                default = option.default if option.in_words else f"`{option.default}`" if option.default else "none"
                lines.append(f"| `{option.name}` | {default} | {option.meaning.replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


EXAMPLE_HEADER = """\
# What can be set in .env, which `make setup` writes with secrets of its own. The values here are the defaults or
# examples; the environment goes before .env. An empty value is the default. Made by `manage.py options --example`.
"""


def example(options: list[Option], width: int = 120) -> str:
    """The text of .env.example."""
    import textwrap

    lines = [EXAMPLE_HEADER.rstrip()]
    for group in dict.fromkeys(option.group for option in options):
        lines += ["", f"# ---- {group}"]
        for option in options:
            if option.group == group:
                meaning = option.meaning[:1].upper() + option.meaning[1:]
                lines += textwrap.wrap(f"{meaning}.", width, initial_indent="# ", subsequent_indent="# ")
                lines.append(f"# {option.name}={option.example or ('' if option.in_words else option.default)}")
    return "\n".join(lines) + "\n"


def as_rows(options: list[Option]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [
        {"name": option.name, "group": option.group, "default": option.default, "meaning": option.meaning}
        for option in options
    ]

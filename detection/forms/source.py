"""The part of the camera's form that holds secrets: which address is meant, and what of it may be shown again."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.http import QueryDict

from detection.fields import Secret, WrongKey
from detection.forms.address import Login, refusal, without_login
from detection.models import Camera, Trial
from detection.sources import SCHEMES, Source, clean_address

SOURCE_FIELDS = ("source", "address", "username", "password", "forgotten", "trial", "rtsp_transport", "verify_tls")
# Which kinds a field is for. What belongs to another kind is not judged, and stays as it was.
ONLY_FOR = {"rtsp_transport": ("rtsp",), "verify_tls": ("http", "mjpeg", "rtsp")}

NO_ADDRESS = "Enter the camera's address."
LOGIN_WITHOUT_ADDRESS = (
    "Enter the address as well: a user name and a password are kept with the address they were entered for, and are "
    "never sent to another."
)
OTHER_KIND = "The stored address is of another kind of camera: enter the address for this one."
TRIAL_GONE = "What was tried is kept for 15 minutes only. Enter the address again."
TRIAL_GONE_STORED = (
    "What was tried is kept for 15 minutes only. Enter the address again, or save again to keep the stored one."
)
TRIAL_OTHER_KIND = "What was tried is another kind of camera: enter the address for this one."
ENTER_AGAIN = (
    "The address or the user name is not the one that was tried, or that is too long ago. Enter its password again; if "
    "it has none, go on without."
)
NOT_SHOWN = "A password is never shown again: enter it once more."
QUERY_NOT_SHOWN = (
    "An address with a question mark is not shown again, as there may be a password behind it: enter it once more."
)


class SourceForm(forms.ModelForm):
    """What a camera is reached by.

    One of three addresses is meant: what is typed; else what was tried just before; else, of a camera that is there
    already, what is stored. They are never mixed, so that a password goes to the host that it was entered for only.
    """

    user: User | AnonymousUser = AnonymousUser()

    address = forms.CharField(
        label="Address",
        help_text="Such as rtsp://192.168.1.20:554/stream1, http://192.168.1.20/snapshot.jpg, /dev/video0 or yard.mp4.",
        required=False,
        strip=True,
        max_length=1000,
        error_messages={"max_length": "The address is longer than 1000 characters."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
    )
    username = forms.CharField(
        label="User name",
        required=False,
        max_length=200,
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        required=False,
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False),
    )
    forgotten = forms.BooleanField(label="Password (left out)", required=False, widget=forms.HiddenInput)
    trial = forms.IntegerField(label="Address (as tried)", required=False, widget=forms.HiddenInput)

    def __init__(
        self, *args: Any, user: User | AnonymousUser | None = None, only_source: bool = False, **kwargs: Any
    ) -> None:
        """``only_source`` forgives whatever else is not right: the source is tried before the rest is filled in."""
        super().__init__(*args, **kwargs)
        self.only_source = only_source
        if user is not None:
            self.user = user
        # Read before the entered values go onto the row: the place is that of the stored kind.
        self.stored_kind = self.instance.source if self.instance.address else ""
        self.place, self.is_readable = self._place()
        self.tried: Trial | None = None
        self.new_address: str | None = None  # complete, with its secrets; None keeps the stored one

    @property
    def files_folder(self) -> str:
        return str(settings.CAMERA_FILES_DIR)

    def _place(self) -> tuple[str, bool]:
        try:
            return self.instance.place, True
        except WrongKey:
            return "", False

    def full_clean(self) -> None:
        super().full_clean()
        if self.is_bound and self.only_source:
            for name in self.errors.keys() - set(SOURCE_FIELDS):
                del self.errors[name]
        if self.is_bound:
            self._forget_secrets()

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        kind = given.get("source", "")
        for name, kinds in ONLY_FOR.items():
            if kind and kind not in kinds:
                self.ignore(name)
        self.tried = self._trial(given.get("trial"))
        is_right_so_far = not {"source", "address", "username", "password"} & self.errors.keys()
        if is_right_so_far:
            self._choose_address(kind, given)
        return given

    def ignore(self, name: str) -> None:
        """What does not matter for the chosen kind is not judged, and stays as it is stored."""
        self.errors.pop(name, None)
        self.cleaned_data[name] = getattr(self.instance, name)

    def source_to_try(self) -> Source:
        """The source as entered. Only for a form without errors in these fields. Raises WrongKey."""
        address = self.new_address if self.new_address is not None else self.instance.address.reveal()
        return Source(
            kind=self.cleaned_data["source"],
            address=address,
            rtsp_transport=self.cleaned_data["rtsp_transport"],
            verify_tls=self.cleaned_data["verify_tls"],
        )

    def save(self, commit: bool = True) -> Camera:
        """Puts it in service; with ``commit=False``, as the admin asks at first, nothing is written."""
        camera = super().save(commit=False)
        if commit:
            camera.put_in_service(None if self.new_address is None else Secret.of(self.new_address))
        return camera

    # Which address is meant

    def _trial(self, pk: int | None) -> Trial | None:
        trial = Trial.of(self.user, pk) if pk and isinstance(self.user, User) else None
        try:
            return trial if trial is not None and trial.address.reveal() else None
        except WrongKey:
            return None

    def _choose_address(self, kind: str, given: dict[str, Any]) -> None:
        address = given["address"]
        # A device and a file have no login, and what was typed of one before is out of sight.
        username, password = (given["username"], given["password"]) if kind in SCHEMES else ("", "")
        if address:
            self._take_typed(kind, address, username, password)
        elif username or password:
            self.add_error("address", LOGIN_WITHOUT_ADDRESS)
        elif self.tried is not None:
            self._take_tried(kind, self.tried)
        elif given.get("trial"):
            self.add_error("address", TRIAL_GONE_STORED if self.stored_kind else TRIAL_GONE)
        elif not self.stored_kind:
            self.add_error("address", NO_ADDRESS)
        elif kind != self.stored_kind:
            self.add_error("address", OTHER_KIND)

    def _take_typed(self, kind: str, address: str, username: str, password: str) -> None:
        try:
            cleaned = clean_address(kind, address, username, password)
        except ValueError as error:
            self.add_error("address", str(error))
            return
        if reason := refusal(kind, cleaned):
            self.add_error("address", reason)
            return
        self.new_address = cleaned
        if self.cleaned_data.get("trial") and not without_login(cleaned).has_password:
            self._add_password_of_trial(kind, cleaned)
        login = without_login(self.new_address)
        if self.cleaned_data.get("forgotten") and login.username and not login.has_password:
            self.add_error("password", NOT_SHOWN)

    def _add_password_of_trial(self, kind: str, typed: str) -> None:
        """The page was shown again, without the password: it is that of the trial, if that was this very address."""
        tried = self.tried.secret_source if self.tried is not None else None
        if tried is None:
            self.add_error("password", ENTER_AGAIN)
            return
        of_trial, of_typed = without_login(tried.address), without_login(typed)
        if tried.kind == kind and (of_trial.address, of_trial.username) == (of_typed.address, of_typed.username):
            self.new_address = tried.address
        elif of_trial.has_password and not self._login_was_taken_out(of_trial, of_typed):
            self.add_error("password", ENTER_AGAIN)

    @staticmethod
    def _login_was_taken_out(of_trial: Login, of_typed: Login) -> bool:
        """The page shows the user name again, unless the address has a query: who sends none has deleted it."""
        return of_trial.address == of_typed.address and not of_typed.username and "?" not in of_typed.address

    def _take_tried(self, kind: str, tried: Trial) -> None:
        if tried.source != kind:
            self.add_error("address", TRIAL_OTHER_KIND)
            return
        address = tried.secret_source.address
        # Who tried the stored address and saves something else does not start the camera anew.
        is_stored = self.stored_kind == kind and self.is_readable and self.instance.address.reveal() == address
        self.new_address = None if is_stored else address

    # What is shown again

    def _forget_secrets(self) -> None:
        """The form is shown again with what was typed, but for the password, also where it was inside the address.

        An address with a query, where many cameras want the password, is left out as a whole: what was tried is then
        meant, if it is the same, and so its user name is left out, too. A trial that cannot be meant any more is left
        out, so that what is sent next is taken as it stands.
        """
        self.data = data = cast(QueryDict, self.data).copy()
        if "password" in self.errors:
            self.tried = None  # its word does not count any more
        typed = data.get("address", "")
        had_password = bool(data.get("password"))
        if "@" in typed:
            login = (
                without_login(self.new_address) if self.new_address is not None else Login("", "", has_password=True)
            )
            had_password = had_password or login.has_password
            # Where it cannot be told what of it is a password, nothing is shown.
            data["address"] = "" if "@" in login.address else login.address
            data["username"] = data.get("username") or login.username
        if "?" in typed:
            self._forget_query(data)
        forgotten = self.errors and self.tried is None and (had_password or bool(data.get("forgotten")))
        data["forgotten"] = "1" if forgotten else ""
        if forgotten and data.get("username") and "password" not in self.errors:
            self.add_error("password", NOT_SHOWN)

    def _forget_query(self, data: QueryDict) -> None:
        data["address"] = ""
        tried = self.tried.secret_source if self.tried is not None else None
        if tried is not None and (tried.kind, tried.address) != (self.cleaned_data.get("source"), self.new_address):
            self.tried = None
        if not self.errors or self.tried is not None:
            data["username"] = ""
        elif "address" not in self.errors:
            self.add_error("address", QUERY_NOT_SHOWN)

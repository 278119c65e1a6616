from __future__ import annotations

import pytest

from detection.sources import Source, clean_address, forbidden, shown


@pytest.mark.parametrize(
    ("kind", "entered", "kept"),
    [
        ("rtsp", ("rtsp://10.0.0.5/stream?a=1",), "rtsp://10.0.0.5/stream?a=1"),
        ("rtsp", (" RTSPS://Cam.local:322/ ",), "rtsps://cam.local:322/"),
        ("http", ("http://a:b%40@cam/x", "", ""), "http://a:b%40@cam/x"),
        ("http", ("http://a:b@cam/x", "me", "p@ss/#:"), "http://me:p%40ss%2F%23%3A@cam/x"),
        ("http", ("http://a@cam/x", "", "new"), "http://a:new@cam/x"),
        ("mjpeg", ("https://[2001:db9::1]:8443/ü",), "https://[2001:db9::1]:8443/%C3%BC"),
        ("usb", ("0",), "0"),
        ("usb", ("/dev/v4l/by-id/usb-Cam-0",), "/dev/v4l/by-id/usb-Cam-0"),
        ("file", ("yard/day.mp4",), "yard/day.mp4"),
    ],
)
def test_good_addresses_are_kept_complete(kind: str, entered: tuple[str, ...], kept: str) -> None:
    assert clean_address(kind, *entered) == kept


@pytest.mark.parametrize(
    ("kind", "entered"),
    [
        ("http", ("",)),
        ("http", ("rtsp://hush/",)),
        ("rtsp", ("http://hush/",)),
        ("http", ("http:///hush",)),
        ("http", ("http://cam:99999/hush",)),
        ("http", ("http://cam:0/hush",)),
        ("http", ("http://cam/hu sh",)),
        ("http", ("http://cam/hush\nx",)),
        ("http", ("http://cam/" + "hush" * 250,)),
        ("http", ("http://cam/", "a:hush", "")),
        ("http", ("http://a:hu%0dsh@cam/",)),
        ("rtsp", ("rtsp://a:hush#1@cam/",)),
        ("rtsp", ("rtsp://a:hush/1@cam/",)),
        ("http", ("http://[::1/hush",)),
        ("http", ("http://169.254.169.254/hush",)),
        ("http", ("http://0xa9fea9fe/hush",)),
        ("http", ("http://[::ffff:169.254.1.1]/hush",)),
        ("usb", ("0", "hush", "")),
        ("usb", ("/dev/sda",)),
        ("usb", ("/dev/v4l/by-id/..",)),
        ("file", ("/etc/hush",)),
        ("file", ("a/../../hush",)),
        ("file", ("hush", "", "hush")),
        ("file", ("hu\0sh",)),
        ("ftp", ("ftp://hush/",)),
    ],
)
def test_bad_addresses_are_refused_with_a_sentence_without_the_secret(kind: str, entered: tuple[str, ...]) -> None:
    with pytest.raises(ValueError) as caught:
        clean_address(kind, *entered)
    assert str(caught.value).endswith((".", "…."))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "address", "seen"),
    [
        ("rtsp", "rtsp://me:hush@10.0.0.5:554/hush", "rtsp://10.0.0.5:554/…"),
        ("http", "http://me:hush@cam?hush", "http://cam/…"),
        ("http", "http://[fd00::1]:80/", "http://[fd00::1]:80"),
        ("http", "http://cam:hush/", "…"),
        ("usb", "/dev/video0", "/dev/video0"),
        ("file", "day.mp4", "day.mp4"),
        ("usb", "rtsp://me:hush@cam/", "…"),
        ("file", "http://cam/?password=hush", "…"),
        ("unknown", "hush", "…"),
    ],
)
def test_what_is_shown_has_no_secret(kind: str, address: str, seen: str) -> None:
    assert shown(kind, address) == seen
    assert "hush" not in repr(Source(kind, address)) + str(Source(kind, address))


NEVER = """
169.254.1.1 fe80::1 169.254.169.254 fd00:ec2::254 100.100.100.200 168.63.129.16 192.0.0.192 0.0.0.0 0.1.2.3 :: 224.0.0.1
ff02::1 255.255.255.255 240.0.0.1 ::ffff:169.254.169.254 2002:a9fe:a9fe:: 64:ff9b::a9fe:a9fe
fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fd00:ec2::23 64:ff9b:1::808:808 64:ff9b:1:a9fe:a9:fe00:: 64:ff9b:1:1::1
"""


@pytest.mark.parametrize("address", NEVER.split())
def test_some_addresses_are_never_called(address: str) -> None:
    assert str(forbidden(address, allow_loopback=True, allow_private=True)).endswith(".")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_loopback_is_a_setting(address: str) -> None:
    assert forbidden(address, allow_loopback=False, allow_private=True)
    assert forbidden(address, allow_loopback=True, allow_private=True) is None


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "fec0::1", "::ffff:10.0.0.1"]
)
def test_private_addresses_are_a_setting(address: str) -> None:
    assert forbidden(address, allow_loopback=False, allow_private=False)
    assert forbidden(address, allow_loopback=False, allow_private=True) is None


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"])
def test_public_addresses_are_called(address: str) -> None:
    assert forbidden(address, allow_loopback=False, allow_private=False) is None

"""Addresses among the settings: what could not be connected to is refused before anything starts."""

from __future__ import annotations

import pytest
from kombu import Connection

from project import addresses


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379/",
        "redis://h:6379/0",
        "redis://h:6379//",
        "redis://:p%40ss@h:6379/3",
        "rediss://u:p@[::1]:6379/15",
        "redis+socket:///run/b.sock?virtual_host=2",
        "sentinel://h1:26379;sentinel://h2:26379",
        "amqp://u:p@h:5672//",
        "amqp://u:p@h/a-virtual-host",
        "amqps://h",
    ],
)
def test_an_address_of_a_broker_is_taken_and_kombu_can_read_it(url: str) -> None:
    assert addresses.broker(url) == url
    assert Connection(url).transport  # it knows how to speak to it
    assert addresses.broker("") == ""


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:xx/0",
        "redis://h:99999/0",
        "redis://h:6379/zero",
        "redis+socket:///run/b.sock?virtual_host=x",
        "amqp://u:p@h:port//",
        "sentinel://h1:26379;sentinel://h2:x",
        "sentinel://h1:26379;mysql://h2",
        "redis://h:6379/0?no_such_option=1",
        "unix:///run/b.sock",
        "mysql://h",
        "h:6379",
    ],
)
def test_an_address_that_no_broker_has_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://HOST:6379/0 or amqp://"):
        addresses.broker(url)


@pytest.mark.parametrize("url", ["http://h:xx", "http://h:99999", "https://h:0"])
def test_an_address_of_flower_with_a_port_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http://HOST:5555"):
        addresses.flower(url)

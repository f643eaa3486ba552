"""Addresses of services: what of them is sent, what is shown, and what cannot be an address."""

import socket

import pytest

from steersman.errors import UsageError
from steersman.reward.exchange import checked_addresses, network_of, parse_url


def test_a_variable_in_an_address_is_sent_with_its_value_and_shown_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERVICE_KEY", "a b/é&c")
    place = parse_url("https://a.example/score?key=${SERVICE_KEY}", [])
    # every letter that means something in a URL is written as the bytes of its UTF-8
    assert place.path == "/score?key=a%20b%2F%C3%A9%26c"
    assert place.url == place.shown == "https://a.example/score?key=${SERVICE_KEY}"
    said = place.without_secrets("no such key: a b/é&c, sent as a%20b%2F%C3%A9%26c")
    assert said == "no such key: ***, sent as ***"
    assert place.without_secrets("status 403") == "status 403"


def test_letters_beyond_ascii_are_written_as_they_go_over_the_wire():
    place = parse_url("http://bücher.example:81/straße?q=1", [])
    assert (place.host, place.port, place.path) == ("xn--bcher-kva.example", 81, "/stra%C3%9Fe?q=1")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://a.example/a b", "holds ' '; write it as %20"),
        ("http://a.example/a\x7fb", "holds '\\\\x7f'; write it as %7F"),
        ("http://a..example/", "no usable host; expected one such as example.org"),
        ("http://a b.example/", "no usable host"),
        ("http://a.example:0x50/", "no usable port"),
        ("http://a.example/?key=***", "was kept without its secrets; give scorer.path again"),
        ("a.example/score", "http://host/path or https://host/path; seen 'a.example/score'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(url: str, match: str):
    with pytest.raises(UsageError, match=match):
        parse_url(url, [])


def test_a_network_that_is_none_is_named():
    assert str(network_of("10.1.2.3/8", "scorer.http")) == "10.0.0.0/8"
    with pytest.raises(UsageError, match=r"judge\.allow holds 'my server'; expected addresses or networks"):
        network_of("my server", "judge")


def test_a_secret_in_an_address_goes_over_an_encrypted_connection_only(monkeypatch: pytest.MonkeyPatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(
        UsageError, match=r"the secret in its address could be read on its way to 8\.8\.8\.8; use https"
    ):
        checked_addresses(parse_url("http://a.example/?api_key=abc", []), secret=False)
    with pytest.raises(UsageError, match=r"the token of scorer\.http\.token_env could be read"):
        checked_addresses(parse_url("http://a.example/?api_key=abc", []), secret=True)
    for url, allowed in (
        ("https://a.example/?api_key=abc", []),
        ("http://a.example/?api_key=abc", ["8.8.8.8"]),
        ("http://a.example/?model=abc", []),
    ):
        assert checked_addresses(parse_url(url, allowed), secret=False) == [(socket.AF_INET, ("8.8.8.8", 80))]

"""One HTTP request to an external service, and its reply.

The address that is connected to is itself checked, so a name that resolves to another address a moment later (DNS
rebinding) changes nothing. Redirects and proxies are not followed.
"""

import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from steersman.errors import UsageError
from steersman.secrets import HIDDEN, conceal, hidden_values, holds_secret

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A socket address: family, and (address, port)."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What the line of a request cannot hold (as http.client has it).
_UNUSABLE = re.compile("[\\x00-\\x20\\x7f]")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
MAX_BYTES = 1 << 26
# IPv6 prefixes that carry an IPv4 address in their last 32 bits (RFC 6052).
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
# The only IPv6 addresses in use on the public internet (RFC 4291, 2.4). What is outside is refused, whatever else it
# is: IPv4 addresses in older forms (::127.0.0.1, ::ffff:0:127.0.0.1), private translation (64:ff9b:1::/48), fec0::/10.
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# In it, but for documents only, and not known to every Python version (RFC 9637).
DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed URL. `allowed` are networks that may be reached although they are not public; `setting` is the group of
    settings that messages name.

    `url` is as given, with each `${NAME}` in it; `path` holds the value of that environment variable.
    """

    url: str
    host: str
    port: int
    path: str
    encrypted: bool
    allowed: tuple[Network, ...]
    setting: str

    @property
    def shown(self) -> str:
        """The URL without secrets, for messages."""
        return conceal(self.url)

    def without_secrets(self, text: str) -> str:
        """What a service wrote, without the secrets of this URL that it may repeat."""
        values = [*hidden_values(self.path), *(os.environ.get(name, "") for name in _VARIABLE.findall(self.url))]
        for value in filter(None, values):
            text = text.replace(value, HIDDEN)
        return conceal(text)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    retry_after: str
    body: bytes


def parse_url(url: str, allowed: Sequence[str], *, setting: str = "scorer.http") -> Endpoint:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(
            f"{conceal(url)!r} is no address ({error}); expected a URL such as http://127.0.0.1:8000/score"
        ) from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"a URL is stored with the run, so it must hold no name or password; see {setting}.token_env")
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(
            f"{conceal(url)!r} has no usable port ({error}); expected a URL such as http://127.0.0.1:8000/score"
        ) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the URL of a service is http://host/path or https://host/path; seen {conceal(url)!r}")
    if HIDDEN in url:
        place = "scorer.path" if setting == "scorer.http" else "it"
        raise UsageError(
            f"the address {conceal(url)} is from a recipe that was kept without its secrets; give {place} again. "
            "For ${NAME} in an address the value of that environment variable is sent, and never kept"
        )
    path = _filled((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    # letters beyond ASCII go over the wire as their UTF-8 bytes (RFC 3987, 3.1)
    path = "".join(letter if letter.isascii() else quote(letter, errors="surrogateescape") for letter in path)
    if (odd := _UNUSABLE.search(path)) is not None:
        raise UsageError(f"the address {conceal(url)!r} holds {odd[0]!r}; write it as {quote(odd[0])}")
    encrypted = parts.scheme == "https"
    networks = tuple(network_of(text, setting) for text in allowed)
    host, port = _ascii_host(parts.hostname, url), port or (443 if encrypted else 80)
    return Endpoint(url, host, port, path, encrypted, networks, setting)


def _ascii_host(host: str, url: str) -> str:
    """A host as it is looked up: names beyond ASCII in their encoded form."""
    try:
        found = host if host.isascii() and ":" in host else host.encode("idna").decode()
    except UnicodeError:
        found = ""
    if not found or _UNUSABLE.search(found):
        raise UsageError(f"the address {conceal(url)!r} has no usable host; expected one such as example.org")
    return found


def _filled(path: str) -> str:
    """The path and query with the value of each environment variable in place of its `${NAME}`."""

    def value(found: re.Match[str]) -> str:
        if not (value := os.environ.get(found[1])):
            raise UsageError(f"the address holds {found[0]}, but the environment has no {found[1]}; set it")
        return quote(value, safe="")

    return _VARIABLE.sub(value, path)


def network_of(text: str, setting: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise UsageError(
            f"{setting}.allow holds {text!r}; expected addresses or networks, such as 127.0.0.1 or 10.0.0.0/8"
        ) from error


def is_public(address: IpAddress) -> bool:
    """Whether an address is on the public internet; IPv4 addresses embedded in IPv6 ones are checked too."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address not in GLOBAL_UNICAST or address in DOCUMENTATION:
            return False
    return address.is_global and not address.is_multicast


def checked_addresses(endpoint: Endpoint, *, secret: bool) -> list[Address]:
    """The addresses of an endpoint. Raises if any of them is neither public nor allowed.

    With `secret`, unencrypted addresses must be allowed explicitly.
    """
    entries = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((entry[0], entry[4]) for entry in entries))
    for _, (text, *_) in addresses:
        address = ipaddress.ip_address(text)
        allowed = any(address in network for network in endpoint.allowed)
        if not allowed and not is_public(address):
            raise UsageError(
                f"{endpoint.shown} leads to {text}, which is not on the public internet. If it is your own service, "
                f'allow the address: {endpoint.setting}.allow=["{text}"]'
            )
        if not allowed and not endpoint.encrypted and (secret or holds_secret(endpoint.path)):
            what = f"the token of {endpoint.setting}.token_env" if secret else "the secret in its address"
            raise UsageError(
                f"{endpoint.shown} is not encrypted, so {what} could be read on its way to {text}; use https"
            )
    return addresses


def post(endpoint: Endpoint, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Reply:
    """The complete reply to one POST within `timeout` seconds from now; OSError or HTTPException if there is none."""
    deadline = time.monotonic() + timeout
    wire = _connect(checked_addresses(endpoint, secret="Authorization" in headers), deadline)
    late = threading.Event()

    def give_up() -> None:
        # A server that sends a byte now and then never exceeds a socket's own timeout.
        late.set()
        with suppress(OSError):
            # the plain socket's shutdown: an SSL socket's drops state that the reading thread still uses
            socket.socket.shutdown(wire, socket.SHUT_RDWR)

    if endpoint.encrypted:
        context = ssl.create_default_context()
        wire = context.wrap_socket(wire, server_hostname=endpoint.host, do_handshake_on_connect=False)
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), give_up)
    timer.daemon = True
    timer.start()
    try:
        reply = _talk(endpoint, wire, body, headers)
    except (OSError, http.client.HTTPException) as error:
        # The socket's own timeout may come a moment before the timer's.
        if late.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError(f"no complete reply within {timeout:g} s") from error
        raise
    finally:
        timer.cancel()
        wire.close()
    if late.is_set():
        raise TimeoutError(f"no complete reply within {timeout:g} s")
    return reply


def _connect(addresses: Sequence[Address], deadline: float) -> socket.socket:
    """A socket connected to the first address that answers.

    Never by name, which could resolve to another address now.
    """
    last: OSError = OSError("the name has no address")
    for number, (family, address) in enumerate(addresses):
        wire = socket.socket(family, socket.SOCK_STREAM)
        wire.settimeout(max(0.001, deadline - time.monotonic()) / (len(addresses) - number))
        try:
            wire.connect(address)
        except OSError as error:
            wire.close()
            last = error
        else:
            wire.settimeout(max(0.001, deadline - time.monotonic()))
            return wire
    raise last


def _talk(endpoint: Endpoint, wire: socket.socket, body: bytes, headers: Mapping[str, str]) -> Reply:
    if isinstance(wire, ssl.SSLSocket):
        wire.do_handshake()
    kind = http.client.HTTPSConnection if endpoint.encrypted else http.client.HTTPConnection
    connection = kind(endpoint.host, endpoint.port)
    connection.sock = wire  # already connected, to an address that was checked
    connection.request(
        "POST", endpoint.path, body, {"Content-Type": "application/json", "Connection": "close", **headers}
    )
    response = connection.getresponse()
    content = response.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise http.client.HTTPException(f"a reply of more than {MAX_BYTES:,} bytes")
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return Reply(response.status, response.headers.get("Retry-After", ""), content)

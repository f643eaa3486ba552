"""One request to a service outside, and its reply. Where it may go is checked at the address that is connected to, so that a
name which resolves to another address a moment later (DNS rebinding) changes nothing. Redirects and proxies are not followed.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from steersman.errors import UsageError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""As sockets take it: a family, and address and port."""
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_BYTES = 1 << 26
# IPv6 prefixes that carry an IPv4 address in their last 32 bits (RFC 6052).
TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Place:
    """A URL taken apart. `allowed` are networks that may be reached although they are not public."""

    url: str
    host: str
    port: int
    path: str
    encrypted: bool
    allowed: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    retry_after: str
    body: bytes


def place_of(url: str, allowed: Sequence[str]) -> Place:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise UsageError("a URL is stored with the run, so it must hold no name or password; see scorer.http.token_env")
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(
            f"{url!r} has no usable port ({error}); expected such as http://127.0.0.1:8000/score"
        ) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"a service is named as http://host/path or https://host/path; seen {url!r}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    encrypted = parts.scheme == "https"
    networks = tuple(map(network_of, allowed))
    return Place(url, parts.hostname, port or (443 if encrypted else 80), path, encrypted, networks)


def network_of(words: str) -> Network:
    try:
        return ipaddress.ip_network(words, strict=False)
    except ValueError as error:
        raise UsageError(
            f"scorer.http.allow holds {words!r}; expected addresses or networks, such as 127.0.0.1 or 10.0.0.0/8"
        ) from error


def is_public(address: IpAddress) -> bool:
    """Whether an address is one of the open internet, also where an IPv4 address hides in an IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast


def checked_addresses(place: Place, *, secret: bool) -> list[Address]:
    """The addresses of a place, each public or allowed; one that is neither is refused, whatever the others are. A secret goes
    unencrypted to allowed addresses only."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((entry[0], entry[4]) for entry in found))
    for _, (words, *_) in addresses:
        address = ipaddress.ip_address(words)
        allowed = any(address in network for network in place.allowed)
        if not allowed and not is_public(address):
            raise UsageError(
                f"{place.url} leads to {words}, which is not on the public internet. If it is your own service, allow the "
                f'address: scorer.http.allow=["{words}"]'
            )
        if not allowed and secret and not place.encrypted:
            raise UsageError(
                f"{place.url} is not encrypted, so the token of scorer.http.token_env would be seen on its way to {words}; use https"
            )
    return addresses


def post(place: Place, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Reply:
    """The reply to one POST, whole and within `timeout` seconds from now; OSError or HTTPException if there is none."""
    deadline = time.monotonic() + timeout
    wire = _connect(checked_addresses(place, secret="Authorization" in headers), deadline)
    late = threading.Event()

    def give_up() -> None:
        # A server that sends a byte now and then never runs into a socket's own time limit.
        late.set()
        with suppress(OSError):
            # the plain socket's: the encrypted one's drops its state under the reader's feet
            socket.socket.shutdown(wire, socket.SHUT_RDWR)

    if place.encrypted:
        context = ssl.create_default_context()
        wire = context.wrap_socket(wire, server_hostname=place.host, do_handshake_on_connect=False)
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), give_up)
    timer.daemon = True
    timer.start()
    try:
        reply = _talk(place, wire, body, headers)
    except (OSError, http.client.HTTPException) as error:
        # The wire's own patience may end a moment before the timer's.
        if late.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError(f"no whole reply within {timeout:g} s") from error
        raise
    finally:
        timer.cancel()
        wire.close()
    if late.is_set():
        raise TimeoutError(f"no whole reply within {timeout:g} s")
    return reply


def _connect(addresses: Sequence[Address], deadline: float) -> socket.socket:
    """To the first address that answers. By the address itself: a name would be resolved again, perhaps to another one."""
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


def _talk(place: Place, wire: socket.socket, body: bytes, headers: Mapping[str, str]) -> Reply:
    if isinstance(wire, ssl.SSLSocket):
        wire.do_handshake()
    kind = http.client.HTTPSConnection if place.encrypted else http.client.HTTPConnection
    connection = kind(place.host, place.port)
    connection.sock = wire  # already connected, to an address that was checked
    connection.request("POST", place.path, body, {"Content-Type": "application/json", "Connection": "close", **headers})
    response = connection.getresponse()
    found = response.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise http.client.HTTPException(f"a reply of more than {MOST_BYTES:,} bytes")
    if response.length:
        raise http.client.IncompleteRead(found, response.length)
    return Reply(response.status, response.headers.get("Retry-After", ""), found)

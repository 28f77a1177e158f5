"""What this machine reaches: the other machines of a run, and by which interface; servers."""

import fcntl
import functools
import os
import socket
import ssl
import struct
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

SIOCGIFADDR = 0x8915


def name_interface(head: str) -> None:
    """Have gloo use the interface that leads to the first machine, unless one is named.

    By itself gloo takes the address of the machine's own name, and on Debian and its kin that is a
    loopback address, which no other machine reaches.
    """
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return
    interface = interface_of(own_address(head))
    if interface not in (None, "lo"):
        os.environ["GLOO_SOCKET_IFNAME"] = str(interface)


def own_address(other: str) -> str:
    """The address with which this machine speaks to another. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def interface_of(address: str) -> str | None:
    """The interface that has an IPv4 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    return None


@functools.cache
def reaches(url: str, seconds: float = 5.0) -> bool:
    """Whether a server answers, through a proxy where one is set. Asked once.

    A firewall or a proxy may take the connection and say nothing.
    """
    try:
        urlopen(Request(url, method="HEAD"), timeout=seconds).close()
    except HTTPError:
        return True
    except URLError as error:  # who asks in earnest may have other certificates
        return isinstance(error.reason, ssl.SSLCertVerificationError)
    except (OSError, HTTPException, ValueError):
        return False
    return True

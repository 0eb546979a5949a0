"""Questions that tell whether a child is ready. Each takes one look, waits a second at most and never raises."""

import http.client
import socket
from pathlib import Path

TIMEOUT_S = 1.0


def broker_answers(path: Path) -> bool:
    """Does a Valkey or Redis answer PING on this unix socket?"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def http_answers(host: str, port: int, path: str) -> bool:
    """Does anything speak HTTP there and answer `path` without an error of its own (below 500)?"""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()

"""Serving the page on the loopback interface alone, until Ctrl-C."""

import errno
import socket

import uvicorn

from da_toolkit.errors import UserError
from da_toolkit.viewing.app import make_app
from da_toolkit.viewing.watch import Watch

LOOPBACK = "127.0.0.1"
USUAL_PORT = 8770
"""Where the page is looked for first, so that an address that was noted down stays good."""


def listening(port: int | None) -> socket.socket:
    """A socket that listens on a port of the loopback interface: the given one, or else the usual one or, where that
    is in use, a free one.

    Raises:
        UserError: the given port is none, is in use, or may not be used.
    """
    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"--port must be between 1 and 65535, got {port}. Without it a free one is taken.")
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # or a port stays taken for a minute after its use
    try:
        _bind(opened, USUAL_PORT if port is None else port, port is None)
        opened.listen(128)
    except OSError as error:
        opened.close()
        why = f"cannot be used ({error.strerror})"
        if error.errno == errno.EADDRINUSE:
            why = "is in use by another program"
        raise UserError(
            f"Port {port or USUAL_PORT} of {LOOPBACK} {why}. Pass another number as --port, or leave --port out: then "
            "a free one is taken and told."
        ) from error
    return opened


def _bind(opened: socket.socket, port: int, or_any: bool) -> None:
    try:
        opened.bind((LOOPBACK, port))
    except OSError as error:
        if not or_any or error.errno != errno.EADDRINUSE:
            raise
        opened.bind((LOOPBACK, 0))


def address_of(opened: socket.socket) -> str:
    """What to open in a browser."""
    return f"http://{LOOPBACK}:{opened.getsockname()[1]}/"


def make_server(watch: Watch) -> uvicorn.Server:
    """The server, which is run with `run(sockets=[...])`. It ends on SIGINT and SIGTERM within a second."""
    return uvicorn.Server(
        uvicorn.Config(
            make_app(watch),
            log_config=None,  # Python's own logging then tells of errors alone
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
            proxy_headers=False,
            server_header=False,
        )
    )

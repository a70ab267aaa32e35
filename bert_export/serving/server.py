"""A service in processes of its own: uvicorn, which ends in order when it is told to."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import msgspec
from starlette.applications import Starlette

from bert_export.errors import InputError
from bert_export.importing import needs_extra
from bert_export.runtime.checks import check_whole
from bert_export.serving.application import app
from bert_export.serving.keys import read_keys
from bert_export.serving.limits import Limits

with needs_extra("bert_export.serving", extra="serve"):
    import uvicorn

__all__ = ["Service", "application_of_process", "listen", "serve"]

_VARIABLE = "BERT_EXPORT_SERVICE"
"""In which several processes read what they serve."""

_GRACE_SECONDS = 30
"""How long what was accepted may take once the process is told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is served, where and how.

    Args:
        bundles: Folders, or hub ids.
        task: See :func:`bert_export.serving.app`, as for the rest of its arguments.
        target: The same.
        threads: The same.
        limits: The same.
        key_file: Of keys that may ask, one a line.
        host: Address to listen on.
        port: To listen on; 0 for any that is free.
        workers: Processes; each opens the bundles for itself.
        certificate: PEM file of the server's certificate, for TLS.
        key: PEM file of its private key.
    """

    bundles: tuple[str, ...]
    task: str | None = None
    target: str | None = None
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    key_file: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    certificate: str | None = None
    key: str | None = None

    def app(self) -> Starlette:
        """The application of one process."""
        return app(
            *self.bundles,
            task=self.task,
            target=self.target,
            threads=self.threads,
            limits=self.limits,
            keys=() if self.key_file is None else read_keys(self.key_file),
        )


def serve(service: Service, *, started: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; what was accepted by then is answered.

    Args:
        service: What is served.
        started: Hears the address once it is listened on.

    Raises:
        BertExportError: As :func:`bert_export.serving.app`, or an engine does not open.
        InputError: The address is taken or unknown, or a file for TLS is missing.
    """
    check_whole("workers", service.workers, least=1)
    application = service.app()
    _check_certificate(service)
    with listen(service) as listening:
        port = listening.getsockname()[1]
        scheme = "http" if service.certificate is None else "https"
        host = f"[{service.host}]" if ":" in service.host else service.host
        address = f"{scheme}://{host}:{port}"
        for model in application.state.models:
            model.open()
        if service.workers == 1:
            started(address)
            _run_here(application, service, listening)
            return
        for model in application.state.models:  # they open: each process opens its own
            model.close()
        started(address)
        _run_processes(service, listening)


def _check_certificate(service: Service) -> None:
    """Refuse files for TLS that uvicorn would stumble over once it is said where it listens.

    Raises:
        InputError: One is missing or no PEM file, or they do not belong together.
    """
    for path in (service.certificate, service.key):
        if path is not None and not Path(path).is_file():
            raise InputError(f"file {path} for TLS is missing", expected="a PEM file")
    if service.certificate is None:
        if service.key is not None:
            raise InputError("certificate is missing", expected="one with the key, for TLS")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(service.certificate, service.key)
    except OSError as error:
        raise InputError(
            f"certificate {service.certificate} cannot be used",
            expected="PEM files of a certificate and of its private key",
            got=error,
        ) from error


def _run_here(application: Starlette, service: Service, listening: socket.socket) -> None:
    """Serve in this process."""
    # uvicorn ends in order, and then raises the signal again: that was all that it asked for.
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        server = uvicorn.Server(uvicorn.Config(application, **_options(service)))
        server.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_processes(service: Service, listening: socket.socket) -> None:
    """Serve in processes that share a port, and nothing else."""
    os.environ[_VARIABLE] = msgspec.json.encode(service).decode()
    try:
        uvicorn.run(
            f"{__name__}:application_of_process",
            factory=True,
            workers=service.workers,
            fd=listening.fileno(),
            **_options(service),
        )
    finally:
        del os.environ[_VARIABLE]


def application_of_process() -> Starlette:
    """The application of one of several processes, as the one that started it says."""
    return msgspec.json.decode(os.environ[_VARIABLE], type=Service).app()


class _Options(TypedDict):
    log_level: str
    access_log: bool
    server_header: bool
    ssl_certfile: str | None
    ssl_keyfile: str | None
    timeout_graceful_shutdown: int


def _options(service: Service) -> _Options:
    """What uvicorn is told in any case."""
    return {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "ssl_certfile": service.certificate,
        "ssl_keyfile": service.key,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
    }


def listen(service: Service) -> socket.socket:
    """A socket that listens where a service says.

    Raises:
        InputError: The address is taken or unknown.
    """
    family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
    try:
        listening = socket.create_server((service.host, service.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"address {service.host}:{service.port} cannot be listened on",
            got=error,
            fix="Choose another --host or --port",
        ) from error
    # Connections inherit it. asyncio sets it only where a socket names its protocol; without it the
    # second piece of an answer waits for the client's acknowledgement of the first, some 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening

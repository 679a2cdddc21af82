"""Databases that several machines share: what a URL may be, how it is opened, and how a lost one is told from a bug."""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from edgecompress.errors import ConfigError, DeviceError, ToolMissingError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

FORMS = "postgresql+psycopg2://user@host/database, mysql+pymysql://user@host/database, sqlite:///file.db or grpc://host:port"
HIDDEN = "***"
_PASSWORD = re.compile(r"^(?P<scheme>[^:/?#]+://)(?P<user>[^:/?#@]*):(?P<password>[^/?#]*)@")
_QUERY_PASSWORD = re.compile(r"(?i)(?P<key>[?&](?:password|passwd|pwd|sslpassword)=)(?P<password>[^&#]*)")
# What a connection that went away without a word costs: libpq (PostgreSQL) notices it within this time.
_LIBPQ = {"connect_timeout": 10, "keepalives_idle": 20, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_FROZEN_MS = 20_000  # that a client may leave a transaction open; ours take milliseconds


def redact(url: str) -> str:
    """The URL without its password, for files and messages; a redacted URL stays as it is."""
    return _QUERY_PASSWORD.sub(rf"\g<key>{HIDDEN}", _PASSWORD.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", url))


def _passwords(url: str) -> set[str]:
    found = {match["password"] for pattern in (_PASSWORD, _QUERY_PASSWORD) for match in pattern.finditer(url)} - {"", HIDDEN}
    return found | {unquote(password) for password in found}


def reason(error: BaseException, url: str) -> str:
    """One line that says why, from the innermost error, without the URL's password."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    details = getattr(error, "details", None)  # gRPC keeps its sentence there
    text = (details() if callable(details) else None) or str(error) or type(error).__name__
    line = " ".join(next((line for line in text.splitlines() if line.strip()), text).split())
    for password in sorted(_passwords(url), key=len, reverse=True):
        line = line.replace(password, HIDDEN)
    return line[:300]


def is_lost(error: BaseException) -> bool:
    """Whether an exception of a storage means that the database is away or too busy now, so that trying again may help."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy import exc

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, exc.ProgrammingError | exc.DataError | exc.NotSupportedError):
        return False  # only another program cures these
    # PendingRollbackError is what Optuna's second attempt in a cut connection ends in
    away = exc.DBAPIError | exc.PendingRollbackError | exc.TimeoutError | exc.DisconnectionError | ConnectionError
    return isinstance(error, away) or _call_status(error) in _AWAY


def is_deleted(error: BaseException) -> bool:
    """Whether an exception of a storage means that the study is gone."""
    return isinstance(error, KeyError) and (error.args == ("Record does not exist.",) or _call_status(error.__cause__) == "NOT_FOUND")


_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN")  # UNKNOWN is what the proxy answers when its own database is away


def _call_status(error: BaseException | None) -> str:
    """The status of a failed gRPC call by name; "" for anything else."""
    code = getattr(error, "code", None)
    status = code() if callable(code) and any(kind.__name__ == "RpcError" for kind in type(error).__mro__) else None
    return getattr(status, "name", "")


def open_storage(url: str) -> BaseStorage:
    """The storage behind `url`. Raises ConfigError for a URL of another form, ToolMissingError, or DeviceError when nobody answers."""
    logging.getLogger("optuna.storages").setLevel(logging.ERROR)  # what it warns of while a database is away is told by whoever waits
    if f":{HIDDEN}@" in url or f"={HIDDEN}" in url:
        raise ConfigError(f"the storage '{url}' has its password left out; give the whole URL, or keep the password in ~/.pgpass or PGPASSWORD")
    if url.startswith("grpc:"):
        return _open_proxy(url)
    return _open_database(url)


def _open_proxy(url: str) -> BaseStorage:
    match = re.fullmatch(r"grpc://(?P<host>\[[0-9a-fA-F:]+\]|[^:/?#@\[\]]+):(?P<port>[0-9]{1,5})/?", url)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError(f"the storage '{redact(url)}' is no gRPC address; it must look like grpc://host:13000")
    try:
        import grpc  # noqa: F401  Optuna imports it late, in the first call
    except ImportError:
        raise ToolMissingError("a grpc:// storage needs the package 'grpcio'; install edgecompress[storage]") from None
    from optuna.storages import GrpcStorageProxy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its proxy experimental
        storage = GrpcStorageProxy(host=match["host"], port=int(match["port"]))
    try:
        storage.wait_server_ready(timeout=10)
    except ConnectionError:
        raise DeviceError(f"no Optuna storage proxy answers at '{url}'; start one with optuna.storages.run_grpc_proxy_server") from None
    return storage


def _open_database(url: str) -> BaseStorage:
    from optuna.storages import RDBStorage, get_storage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
        dialect, driver = parsed.get_backend_name(), parsed.get_dialect().driver
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise ConfigError(f"the storage '{redact(url)}' is no database URL; it must look like {FORMS}") from None
    options: dict[str, Any] = {}
    if dialect == "postgresql" and driver in ("psycopg2", "psycopg"):
        options["connect_args"] = {key: value for key, value in _LIBPQ.items() if key not in parsed.query}
    elif dialect == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ConfigError(f"the storage '{url}' is in memory, which nobody shares; name a file: sqlite:///study.db")
        options["connect_args"] = {"timeout": 30}  # seconds that a writer waits for another
    try:
        storage = _made_by_one(lambda: RDBStorage(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=options))
    except ImportError:
        raise ToolMissingError(f"the storage '{redact(url)}' needs a Python driver that is not installed; "
                               "install edgecompress[storage] for PostgreSQL (psycopg2) or the driver that the URL names") from None
    except (SQLAlchemyError, RuntimeError) as error:
        raise DeviceError(f"the storage '{redact(url)}' cannot be used: {reason(error, url)}") from None
    if dialect == "postgresql":
        _end_frozen_transactions(storage)
    return get_storage(storage)


def _end_frozen_transactions(storage: RDBStorage) -> None:
    """A machine that freezes in the middle of a transaction must not hold its locks for ever."""
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION idle_in_transaction_session_timeout = {_FROZEN_MS}")
        connection.commit()

    storage.engine.dispose()  # connections that were opened before


def _made_by_one(make: Callable[[], RDBStorage]) -> RDBStorage:
    """`make()`, again while machines that started together make the tables at the same time."""
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for attempt in range(5):
        try:
            return make()
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if not any(text in str(error) for text in ("already exists", "duplicate key", "Duplicate entry", "UNIQUE", "locked")):
                raise
        time.sleep(0.2 * 2**attempt)
    return make()

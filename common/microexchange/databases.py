"""The names of the databases, connections to them, and queries for clients.

`MX_DATABASE_URL` names a server: `postgresql://user:password@host:5432` or, over a Unix socket,
`postgresql://user@/?host=/path`. The exchange has three databases on it.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg_pool import AsyncConnectionPool

from microexchange.refusals import Code, Refusal

CLEARING_DATA = "clearing_data"
MARKET_DATA = "market_data"
EXCHANGE_LOG = "exchange_log"


def database_url(server_url: str, namespace: str, name: str) -> str:
    """Return the URL of database `name` of the market `namespace` on the server at `server_url`.

    >>> database_url("postgresql://me@/?host=/run", "", "market_data")
    'postgresql://me@/market_data?host=/run'
    """
    parts = urlsplit(server_url)
    # urlunsplit drops an empty authority, and `postgresql:/x` is not a URL.
    text = urlunsplit(("postgresql", parts.netloc or "x", f"/{namespace}{name}", parts.query, ""))
    return text if parts.netloc else text.replace("//x/", "///", 1)


CONNECTION_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
"""The errors that psycopg raises if it cannot reach the server, or loses the connection."""


QUERY_TIMEOUT_SECONDS = 20.0
"""The time that a query for a client may take."""


@contextlib.contextmanager
def query_errors_as_refusals(database: str) -> Iterator[None]:
    """Turn the errors of a query for a client into refusals. `database` is the name of the database for clients.

    Raises:
        Refusal: `UNAVAILABLE`, if the database cannot be reached or is too slow.
    """
    try:
        yield
    except TimeoutError as error:
        text = f"{database} has not answered within {QUERY_TIMEOUT_SECONDS:g} s: try again shortly"
        raise Refusal(Code.UNAVAILABLE, text) from error
    except psycopg.OperationalError as error:  # a timeout of the pool is one of them
        raise Refusal(Code.UNAVAILABLE, f"{database} is not available: try again shortly") from error


async def query_rows(
    pool: AsyncConnectionPool, database: str, query: str, values: Mapping[str, object] | Sequence[object]
) -> list[Any]:
    """Return the rows of a query for a client. `database` is the name of the database for clients.

    Raises:
        Refusal: `UNAVAILABLE`, if the database cannot be reached or is too slow.
    """
    with query_errors_as_refusals(database):
        async with asyncio.timeout(QUERY_TIMEOUT_SECONDS), pool.connection(timeout=2) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()


async def connect(url: str, purpose: str) -> psycopg.AsyncConnection:
    """Return a connection in autocommit mode, which detects within 15 seconds that the server does not answer.

    `purpose` is the name that the server shows for the connection.

    Raises:
        psycopg.OperationalError: The server cannot be reached.
    """
    return await psycopg.AsyncConnection.connect(
        url,
        autocommit=True,
        connect_timeout=5,
        application_name=f"microexchange {purpose}",
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )


def without_secrets(url: str) -> str:
    """Return `url` without user, password and query, for log lines and errors.

    >>> without_secrets("amqp://guest:guest@127.0.0.1:5672/%2f")
    'amqp://127.0.0.1:5672'
    """
    parts = urlsplit(url)
    place = parts.hostname or "local socket"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{place}{port}"

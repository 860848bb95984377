"""The names of the databases, and how to address one of them on a server.

`MX_DATABASE_URL` names a server (`postgresql://user:password@host:5432` or, over a Unix socket,
`postgresql://user@/?host=/path`); the exchange keeps three databases on it.
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
    """The URL of database `name` of the market `namespace` on the server that `server_url` names.

    >>> database_url("postgresql://me@/?host=/run", "", "market_data")
    'postgresql://me@/market_data?host=/run'
    """
    parts = urlsplit(server_url)
    # urlunsplit drops an empty authority, and `postgresql:/x` is no URL.
    text = urlunsplit(("postgresql", parts.netloc or "x", f"/{namespace}{name}", parts.query, ""))
    return text if parts.netloc else text.replace("//x/", "///", 1)


CONNECTION_LOST = (psycopg.OperationalError, psycopg.InterfaceError)
"""What psycopg raises when the server or the connection to it is gone."""


ASK_SECONDS = 20.0
"""How long the database may take for a client's question."""


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Bounds a database query for a client. Raises `Refusal` (`UNAVAILABLE`), which names `what`, if the database is gone
    or too slow."""
    try:
        yield
    except TimeoutError as error:
        raise Refusal(Code.UNAVAILABLE, f"{what} has not answered within {ASK_SECONDS:g} s: try again shortly") from error
    except psycopg.OperationalError as error:  # the pool's own timeout is one too
        raise Refusal(Code.UNAVAILABLE, f"{what} is not available: try again shortly") from error


async def ask(
    pool: AsyncConnectionPool, what: str, query: str, values: Mapping[str, object] | Sequence[object]
) -> list[Any]:
    """The rows that answer a client's question; `what` is how a refusal calls the database. Raises `Refusal`
    (`UNAVAILABLE`)."""
    with asking(what):
        async with asyncio.timeout(ASK_SECONDS), pool.connection(timeout=2) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()


async def connect(url: str, purpose: str) -> psycopg.AsyncConnection:
    """A connection that commits each statement by itself, unless told otherwise, and that notices within seconds when the
    server is gone. `purpose` is the name that the server shows for it. Raises one of `CONNECTION_LOST`."""
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
    """`url` fit for a log line or an error: no user, no password, no query.

    >>> without_secrets("amqp://guest:guest@127.0.0.1:5672/%2f")
    'amqp://127.0.0.1:5672'
    """
    parts = urlsplit(url)
    place = parts.hostname or "local socket"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{place}{port}"

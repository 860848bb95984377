"""HTTP for all services: the server, the JSON form of errors, health and metrics."""

import asyncio
import contextlib
import gc
import math
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, get_args, get_origin

import msgspec
import structlog
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from microexchange import __version__
from microexchange.connection_limits import ConnectionLimits, place_of
from microexchange.forwarding import IS_FORWARDED, FromGateway
from microexchange.frames import Connection, frame
from microexchange.health import Health
from microexchange.http_connection import HttpConnection
from microexchange.limits import RateLimiter
from microexchange.number_fields import schema_components
from microexchange.page_guard import PageRules, names_of_this_machine
from microexchange.refusals import Code, Refusal
from microexchange.schemas import ErrorView

_logger = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder(enc_hook=str)
_number_encoder = msgspec.json.Encoder(decimal_format="number")
_msgpack_encoder = msgspec.msgpack.Encoder(enc_hook=str)

HTTP_STATUS: dict[Code, int] = {
    Code.MALFORMED: 400,
    Code.INVALID_FIELD: 422,
    Code.UNKNOWN_SYMBOL: 404,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.TOO_LARGE: 413,
    Code.UNAVAILABLE: 503,
    Code.OUTCOME_UNKNOWN: 504,
    Code.INTERNAL: 500,
    Code.CLIENT_EXISTS: 409,
    Code.UNKNOWN_CLIENT: 404,
    Code.CLIENT_SUSPENDED: 403,
    Code.SECURITY_EXISTS: 409,
    Code.UNKNOWN_ORDER: 404,
    Code.ORDER_CLOSED: 409,
    Code.DUPLICATE_CLIENT_ORDER_ID: 409,
    Code.INSUFFICIENT_CASH: 409,
    Code.INSUFFICIENT_SHARES: 409,
    Code.LIMIT_EXCEEDED: 422,
    Code.NO_LIQUIDITY: 409,
    Code.SELF_TRADE: 409,
    Code.HOUSE_CLOSED: 409,
    Code.MARKET_HALTED: 409,
    Code.MARKET_CLOSED: 409,
    Code.NOT_IN_AUCTION: 409,
    Code.WOULD_TRADE: 409,
    Code.NOT_FILLABLE: 409,
    Code.POSITION_LIMIT: 409,
    Code.UNKNOWN_SAVED_BOOK: 404,
    Code.PRICE_BAND: 409,
    Code.UNFILLED: 409,
    Code.EXPIRED: 409,
    Code.BOOK_LOADED: 409,
    Code.RATE_LIMITED: 429,
    Code.DELISTED: 409,
    Code.NO_SESSION: 404,
    Code.SESSION_STATE: 409,
    Code.ROUND_ENDED: 409,
    Code.PAID_OUT: 409,
    Code.UNKNOWN_TENDER: 404,
    Code.TENDER_CLOSED: 409,
    Code.SETTLEMENT_FAULT: 500,
    Code.DISK_FULL: 503,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.FOREIGN_ORIGIN: 403,
}
"""The HTTP status of each code of a refusal."""
MAX_BODY_BYTES = 1 << 20
"""The largest request body, in bytes."""
BODY_TIMEOUT_SECONDS = 10.0
"""Time for a request's body to arrive."""
FLOOD_PAUSE_SECONDS = 0.05
"""Time before a refusal for too many requests is sent, and during which its WebSocket is not read. It slows down the client
that sends them, and no other."""
PING_SECONDS = 20.0
"""Time between pings on a WebSocket, and for the peer to answer one. Then it is disconnected."""
COLLECT_AFTER = 200
"""Ended connections after which the garbage collector runs. It runs rarely otherwise, and the objects of a connection refer
to each other."""
COLLECT_SECONDS = 1.0
"""The least time between two such runs."""
COLLECT_SHARE = 0.01
"""The greatest share of time for such runs. No other task runs in the meantime."""
SHUTDOWN_TIMEOUT_SECONDS = 5
RETRY_AFTER = "1"
"""Seconds, in the header of a 503."""


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(_encoder.encode(content), status, headers, "application/json")


def number_json(content: Any) -> bytes:
    """Return JSON in which decimals are numbers, exact to the last digit."""
    return _number_encoder.encode(content)


def msgpack_bytes(content: Any) -> bytes:
    """Return a message in msgpack."""
    return _msgpack_encoder.encode(content)


def json_frame(content: Any) -> bytes:
    """Return a WebSocket frame with JSON text."""
    return frame(_encoder.encode(content))


def json_text(content: Any) -> str:
    """Return JSON text."""
    return _encoder.encode(content).decode()


def refuse(refusal: Refusal) -> Response:
    """Return the HTTP answer of a refusal."""
    headers = {"Retry-After": RETRY_AFTER} if HTTP_STATUS[refusal.code] == 503 else None
    if refusal.retry_after is not None:
        headers = {"Retry-After": str(math.ceil(refusal.retry_after)), "RateLimit-Limit": f"{refusal.limit:g}"}
    elif refusal.code is Code.RATE_LIMITED:
        headers = {"Connection": "close"}  # the limit is one of connections
    if refusal.code is Code.UNAUTHENTICATED:
        headers = {"WWW-Authenticate": "Bearer"}
    return json_response(refusal.as_json(), HTTP_STATUS[refusal.code], headers)


async def refuse_scope(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the opening of a WebSocket, with a refusal."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(refuse(refusal))
    else:
        await refuse(refusal)(scope, receive, send)


def decode_json(decoder: "msgspec.json.Decoder[Any] | msgspec.msgpack.Decoder[Any]", body: bytes) -> Any:
    """Decode and check a body in JSON, or in msgpack if the decoder is one of msgpack.

    Raises:
        Refusal: `MALFORMED`, or `INVALID_FIELD` with the field.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        encoding = "JSON" if isinstance(decoder, msgspec.json.Decoder) else "msgpack"
        raise Refusal(Code.MALFORMED, f"the body is not valid {encoding}: {error}") from error


def _invalid(text: str) -> Refusal:
    """Return the refusal of a message of msgspec, such as "Expected `str`, got `int` - at `$.symbol`"."""
    message, _, path = text.rpartition(" - at `") if " - at `" in text else (text, "", "")
    field = path.rstrip("`").removeprefix("$").lstrip(".")
    if message.startswith("Object missing required field `"):
        missing = message.split("required field `", 1)[1].rstrip("`")
        return Refusal(Code.INVALID_FIELD, f"{missing} is missing: add it", f"{field}.{missing}" if field else missing)
    if message.startswith("Object contains unknown field `"):
        unknown = message.split("unknown field `", 1)[1].rstrip("`")
        return Refusal(Code.INVALID_FIELD, f"there is no field {unknown!r} here: leave it out", unknown)
    if not field:
        return Refusal(Code.MALFORMED, f"the body is not a JSON object of the right type: {message}")
    return Refusal(Code.INVALID_FIELD, f"{field}: {message.replace('`', '')}", field)


async def read_body(request: Request) -> bytes:
    """Return the request's body.

    Raises:
        Refusal: `TOO_LARGE`: the body has more than `MAX_BODY_BYTES` bytes. `MALFORMED`: it is not complete within
            `BODY_TIMEOUT_SECONDS`.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(Code.TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
    except TimeoutError as error:
        raise Refusal(Code.MALFORMED, f"the body did not arrive within {BODY_TIMEOUT_SECONDS:g} s: send it whole") from error
    return bytes(body)


class SecurityHeaders:
    """Middleware that adds headers to every answer: browsers must not guess its type, frame it or store it."""

    HEADERS = (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in self.HEADERS if header[0] not in present)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class AddressLimit:
    """Middleware that refuses requests of an address that sends too many, and its WebSockets beyond the limit of open
    connections, before they are processed.

    An address here is that of the client, which a trusted proxy or the gateway names.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        client = scope.get("client")
        if scope["type"] in ("http", "websocket") and client is not None:
            seconds = self._limiter.take(client[0], time.monotonic())
            if seconds:
                text = f"more than {self._limiter.rate:g} requests a second from {client[0]}: wait {seconds:.3f} s"
                refusal = Refusal(Code.RATE_LIMITED, text, retry_after=seconds, limit=self._limiter.rate)
                await asyncio.sleep(FLOOD_PAUSE_SECONDS)
                await refuse_scope(refusal, scope, receive, send)
                return
            try:
                self._count(scope, client[0])
            except Refusal as refusal:
                await refuse_scope(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    @staticmethod
    def _count(scope: Scope, address: str) -> None:
        """Count the connection of a request for the client that sends it.

        The HTTP connections of a proxy or a gateway are shared among clients, and count for none.

        Raises:
            Refusal: `RATE_LIMITED`: the address has too many connections.
        """
        place = place_of(scope)
        if scope["type"] == "http" and (scope.get(IS_FORWARDED) or address != place.address):
            place.move_to("")
        else:
            place.move_to(address)
            place.confirm()


class PageGuard:
    """Middleware of a classroom that refuses requests of pages of other origins.

    The gateway has checked the requests that it forwards.
    """

    def __init__(self, app: ASGIApp, rules: PageRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] in ("http", "websocket") and not scope.get(IS_FORWARDED):
            try:
                self._rules.check(scope["headers"])
            except Refusal as refusal:
                await refuse_scope(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)


_TAGS = [{"name": name} for name in ("clients", "orders", "market", "accounts", "admin", "operations")]
"""The tags in the order of the OpenAPI page."""


class _StatusCollector(Collector):
    """The numbers of a service's status as gauges `microexchange_…`. In a table, the key is the label `name`."""

    def __init__(self, health: Health, status: Callable[[], dict[str, Any]]) -> None:
        self._health = health
        self._status = status

    def collect(self) -> Iterator[Metric]:
        ready = GaugeMetricFamily("microexchange_ready", "1 if the service is ready, else 0.")
        ready.add_metric([], float(not self._health.waiting_for))
        yield ready
        warnings = GaugeMetricFamily("microexchange_warnings", "The number of warnings of the service.")
        warnings.add_metric([], float(len(self._health.warnings)))
        yield warnings
        for field, value in self._status().items():
            values = value if isinstance(value, dict) else {"": value}
            numbers = {name: number for name, number in values.items() if isinstance(number, (int, float))}
            if numbers:
                labels = ["name"] if isinstance(value, dict) else []
                gauge = GaugeMetricFamily(f"microexchange_{field}", f"{field} of /status.", labels=labels)
                for name, number in numbers.items():
                    gauge.add_metric([name] if labels else [], float(number))
                yield gauge


def make_app(  # an empty text means none  # nosec B107
    title: str,
    description: str,
    health: Health,
    status: Callable[[], dict[str, Any]],
    cors_origins: Sequence[str] = (),
    address_rate: float = 0,
    gateway_token: str = "",
    *,
    guards_pages: bool = False,
) -> FastAPI:
    """Return a FastAPI application with `/health/live`, `/health/ready`, `/status`, `/metrics` and the form of errors.

    Pages of `cors_origins` may send requests; `*` is all. One address may send `address_rate` requests a second, and twice
    as many at once; 0 for no limit. A request that the gateway forwards with `gateway_token` counts for the gateway's
    client. With `guards_pages`, pages of other origins than this and `cors_origins` are refused.
    """
    app = FastAPIOffline(title=title, description=description, version=__version__, openapi_tags=_TAGS)
    if guards_pages:
        app.add_middleware(PageGuard, rules=PageRules(cors_origins, names_of_this_machine()))
    app.add_middleware(AddressLimit, limiter=RateLimiter(address_rate, 2 * address_rate))
    app.add_middleware(SecurityHeaders)
    if cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=cors_origins, allow_methods=["*"], allow_headers=["*"])
    if gateway_token:
        app.add_middleware(FromGateway, token=gateway_token)

    _add_error_handlers(app)

    @app.get("/health/live", tags=["operations"], summary="The process runs")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/health/ready", tags=["operations"], summary="The service does its work", responses={503: {}})
    async def ready() -> Response:
        if health.waiting_for:
            return json_response({"status": "waiting", "for": health.waiting_for}, HTTP_STATUS[Code.UNAVAILABLE])
        return json_response({"status": "ready", **({"warnings": health.warnings} if health.warnings else {})})

    @app.get("/status", tags=["operations"], summary="Positions and counts of this service")
    async def service_status() -> Response:
        return json_response({"waiting_for": health.waiting_for, "warnings": health.warnings, **status()})

    registry = CollectorRegistry()
    registry.register(_StatusCollector(health, status))

    @app.get("/metrics", tags=["operations"], summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(generate_latest() + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_error_handlers(app: FastAPI) -> None:
    """Answer every error in the common form."""

    @app.exception_handler(Refusal)
    async def _refusal(_: Request, refusal: Refusal) -> Response:
        if refusal.code is Code.RATE_LIMITED:
            await asyncio.sleep(FLOOD_PAUSE_SECONDS)
        return refuse(refusal)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        code = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}.get(error.status_code, Code.MALFORMED)
        message = f"there is no {request.method} {request.url.path} here: GET /docs has all routes"
        body = Refusal(code, message if error.status_code in (404, 405) else str(error.detail)).as_json()
        return json_response(body, error.status_code, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _invalid_parameter(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        return refuse(Refusal(Code.INVALID_FIELD, f"{field}: {first['msg']}", field))

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> Response:
        _logger.error("fault in a request", path=request.url.path, exc_info=error)
        return refuse(Refusal(Code.INTERNAL, "a fault in the exchange; its log has the details"))


def document(app: FastAPI, *types: type) -> Callable[..., dict[str, Any]]:
    """Add the schemas of `types` to the app's OpenAPI page. Return a function that describes a route with them.

    FastAPI does not support msgspec structures. This way, the decoders of a route and the page use the same types.
    """
    components = schema_components(types)
    make_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        page = make_openapi()
        schemas = page.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(components)
        page["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        # FastAPI's own form of an error, which `ErrorView` replaces.
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for route in page["paths"].values():
            for operation in route.values():
                if "HTTPValidationError" in str(operation["responses"].get("422")):
                    operation["responses"]["422"] = {"description": "Refused", "content": content(ErrorView)}
        return page

    app.openapi = openapi  # type: ignore[method-assign]

    def content(type_: Any) -> dict[str, Any]:
        if get_origin(type_) is list:
            items = get_args(type_)[0].__name__
            return {"application/json": {"schema": {"type": "array", "items": {"$ref": f"#/components/schemas/{items}"}}}}
        return {"application/json": {"schema": {"$ref": f"#/components/schemas/{type_.__name__}"}}}

    def describe(summary: str, body: Any, answer: Any, *statuses: int) -> dict[str, Any]:
        good, *bad = statuses
        schema = {"application/json": {"schema": answer}} if isinstance(answer, dict) else content(answer)
        responses: dict[int, Any] = {good: {"description": "Done", "content": schema}}
        responses |= {status: {"description": "Refused", "content": content(ErrorView)} for status in bad}
        extra: dict[str, Any] = {"security": [{"key": []}]} if 401 in bad else {}
        if body is not None:
            extra["requestBody"] = {"required": True, "content": content(body)}
        return {"summary": summary, "status_code": good, "responses": responses, "openapi_extra": extra}

    return describe


class _Server(uvicorn.Server):
    """A uvicorn server inside the service's event loop. The service handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the service handles signals."""
        yield


async def _collect_garbage(limits: ConnectionLimits) -> None:
    """Release the memory of ended connections.

    The objects of the service itself are left out: a run then takes the time of the open and the ended connections, and of
    what was made since the start.
    """
    gc.collect()
    gc.freeze()
    collected, seconds = limits.ended, 0.0
    while True:
        await asyncio.sleep(max(COLLECT_SECONDS, seconds / COLLECT_SHARE))
        if limits.ended - collected >= COLLECT_AFTER:
            collected, began = limits.ended, time.perf_counter()
            gc.collect()
            seconds = time.perf_counter() - began


async def serve(
    app: Any,
    listener: socket.socket,
    stop: asyncio.Event,
    limits: ConnectionLimits | None = None,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve `app` on `listener` until `stop` is set. Then finish the open requests, for up to `SHUTDOWN_TIMEOUT_SECONDS`.

    Without `limits`, there may be any number of connections. The headers of `trusted_proxies` name the address and the
    scheme of the client. Those of all others are not read.
    """
    limits = limits or ConnectionLimits()
    config = uvicorn.Config(
        app,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        http=partial(HttpConnection, limits=limits),  # type: ignore[arg-type]  # it is called
        ws=Connection,
        ws_max_size=MAX_BODY_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,
        server_header=False,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    collecting = asyncio.create_task(_collect_garbage(limits))
    try:
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        stopping.cancel()
        collecting.cancel()
        await serving

"""The shell of the gateway."""

import asyncio
import contextlib
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import psycopg
import structlog
from pydantic import AfterValidator, Field

from microexchange.access import Access
from microexchange.auth import Keys, read_or_make_secret
from microexchange.batches import gateway_name
from microexchange.commands import ListSecurity
from microexchange.enums import PricingRule
from microexchange.forwarding import PREFIX, PURPOSE
from microexchange.health import Health
from microexchange.ids import MAX_GATEWAY
from microexchange.limits import RateLimiter
from microexchange.listening import bind
from microexchange.log import Backoff, open_log
from microexchange.securities import ListingError, most_traded, read_listing, unknown_columns
from microexchange.service import ConfigurationError, background
from microexchange.settings import PublicSettings
from microexchange.web import make_app, serve
from order_entry_gateway.classroom import Blackboard
from order_entry_gateway.desk import Limits, OrderDesk
from order_entry_gateway.market_data import MarketData, checked_feed_url
from order_entry_gateway.quick_routes import add_classroom
from order_entry_gateway.requests import Endowment
from order_entry_gateway.rest import Registration, add_routes
from order_entry_gateway.websocket import add_websocket

_logger = structlog.get_logger(__name__)
_DESCRIPTION = (
    "Open an account, enter and cancel orders. `/ws/orders` is the WebSocket for the same. "
    f"All market data is at this address too: [{PREFIX}/docs]({PREFIX}/docs)."
)


class GatewaySettings(PublicSettings):
    """What the gateway is told."""

    port: int = Field(default=8000, ge=0, le=65535, description="Port of REST and WebSocket.")
    gateway_number: int = Field(default=0, ge=0, lt=MAX_GATEWAY, description="Tells several gateways of one market apart.")
    endowment_cash: Decimal = Field(default=Decimal(10_000), description="Cash that a new account begins with.")
    endowment_credit: Decimal = Field(default=Decimal(0), description="Cash that a new account may owe.")
    endowment_shares: dict[str, Decimal] = Field(
        default={},
        description='Shares that a new account begins with, by symbol as JSON; "*" is every other security.',
    )
    endowment_short_limit: Decimal = Field(
        default=Decimal(10_000),
        description="What all short positions of a new account together may come to, in cash at the reference prices of the "
        "listing; 0 for none.",
    )
    listing: Path | None = Field(
        default=None, description="CSV of the securities to list; without one, a hundred stocks, BTC-USDT, ETH-USDT."
    )
    securities: int = Field(
        default=0, ge=0, description="How many of the listing to list: of the one that ships, the most traded; 0 for all."
    )
    pricing: Literal["", "resting", "midpoint", "spread_capture"] = Field(
        default="",
        description="Pricing rule of every security that is listed from now on: resting, midpoint or spread_capture; "
        "empty for the listing's.",
    )
    registration: Literal["open", "invitation", "admin"] = Field(
        default="open",
        description="Who opens accounts: everybody, who has the code in secrets/invitation-code, or the admin alone.",
    )
    requests_per_second: float = Field(default=1000, ge=0, description="Requests of one client on orders; 0 for any.")
    open_orders: int = Field(default=20_000, ge=0, description="Orders that one client may have open; 0 for any.")
    connections: int = Field(default=100, ge=0, description="WebSockets of one client; 0 for any.")
    address_connections: int = Field(default=1000, ge=0, description="WebSockets for market data of one address; 0 for any.")
    feed_url: Annotated[str, AfterValidator(checked_feed_url)] = Field(
        default="http://127.0.0.1:8001", description="Address of the market-data feed."
    )
    report_timeout: float = Field(default=10.0, gt=0, description="Seconds to wait for the engine's report.")


class GatewayService:
    """One gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        try:
            self._endowment = Endowment.of(
                settings.endowment_cash,
                settings.endowment_shares,
                settings.endowment_credit,
                settings.endowment_short_limit,
            )
            self._listing = _read_listing(settings.listing)
            if settings.securities:
                self._listing = most_traded(self._listing, settings.securities)
        except (ListingError, OSError, ValueError) as error:
            raise ConfigurationError(str(error)) from error
        self._keys = Keys(settings.data_dir)
        self._health = Health()
        self._log = open_log(settings.log_url.get_secret_value(), settings.namespace)
        self._desk = OrderDesk(
            self._log,
            settings.gateway_number,
            settings.database_url.get_secret_value(),
            settings.namespace,
            self._health,
            settings.report_timeout,
            settings.data_dir / gateway_name(settings.gateway_number) / "epoch",
            Limits(
                RateLimiter(settings.requests_per_second, 2 * settings.requests_per_second),
                settings.open_orders,
                settings.connections,
            ),
            self._endowment,
            Blackboard() if settings.classroom else None,
            PricingRule(settings.pricing) if settings.pricing else None,
        )
        code = settings.data_dir / "secrets" / "invitation-code"
        by_invitation = settings.registration == "invitation"
        self._registration = Registration(settings.registration, read_or_make_secret(code) if by_invitation else "")
        self._keys.revoked = self._desk.revoked_keys

    def _status(self) -> dict[str, Any]:
        latency = self._desk.latency
        return {
            "number": self._settings.gateway_number,
            "last_command_id": str(self._desk.last_command_id),
            "commands": latency.count,
            **dict(zip(("latency_p50", "latency_p95"), latency.percentiles(50, 95), strict=True)),
            "securities": len(self._desk.view.securities),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`."""
        settings, desk = self._settings, self._desk
        listener = bind(settings.host, settings.port, settings.port_flag)
        limits = settings.cors_origins, settings.address_requests_per_second
        app = make_app("microexchange order entry", _DESCRIPTION, self._health, self._status, *limits)
        access = Access(self._keys, settings.classroom)
        token, most = self._keys.derived(PURPOSE), (settings.address_connections, settings.connections)
        market_data = MarketData(settings.feed_url, token, access, *most)
        add_routes(app, desk, access, self._registration, market_data)
        add_websocket(app, desk, access)
        add_classroom(app, desk, access, market_data)
        market_data.add_to(app)
        _logger.info("starting", admin_token_file=str(self._keys.admin_token_file))
        try:
            async with background(self._work()):
                await serve(app, listener, stop)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(desk.flush(), 5)
        finally:
            await market_data.close()
            await desk.close()
            await self._log.close()

    async def _work(self) -> None:
        desk, backoff = self._desk, Backoff()
        while True:
            try:
                await desk.bootstrap()
                break
            except psycopg.OperationalError as error:
                _logger.error("database unavailable", cause=str(error).strip())
                await backoff.wait()
        async with background(desk.append(), desk.listen(), desk.tell_time()):
            await desk.log_on()
            for listing in self._listing:
                desk.list_security(listing)
            await asyncio.Event().wait()


def _read_listing(path: Path | None) -> list[ListSecurity]:
    """The securities to list. Raises `ListingError`, `OSError` or `ValueError`."""
    if path is None:
        return read_listing(files("order_entry_gateway").joinpath("listing.csv").read_text().splitlines())
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if unknown := unknown_columns(lines):
        _logger.warning("columns of the listing are no terms and were not read", listing=str(path), columns=unknown)
    return read_listing(lines)

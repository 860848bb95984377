"""The gateway as a service: its settings, its parts and its tasks."""

import asyncio
import contextlib
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import psycopg
import structlog
from fastapi import FastAPI
from pydantic import AfterValidator, Field

from microexchange.access import Access
from microexchange.auth import Keys, read_or_make_secret
from microexchange.batches import gateway_name
from microexchange.commands import ListSecurity
from microexchange.disks import DiskGuard
from microexchange.enums import PricingRule
from microexchange.forwarding import PREFIX, PURPOSE
from microexchange.health import Health
from microexchange.ids import MAX_GATEWAY
from microexchange.limits import RateLimiter
from microexchange.listening import bind
from microexchange.log import Backoff, open_log
from microexchange.securities import ListingError, most_traded, read_listing, unknown_columns
from microexchange.service import ConfigurationError, background
from microexchange.settings import PublicSettings, connection_limits
from microexchange.web import make_app, serve
from order_entry_gateway.account_routes import Registration
from order_entry_gateway.administration import Administration
from order_entry_gateway.market_data import MarketData, checked_feed_url
from order_entry_gateway.market_policy import ClassroomPolicy, MarketPolicy
from order_entry_gateway.order_service import Limits, OrderService
from order_entry_gateway.quick_routes import add_classroom_refusals, add_classroom_routes
from order_entry_gateway.requests import Endowment
from order_entry_gateway.rest import add_routes
from order_entry_gateway.seats import read_or_make_pin
from order_entry_gateway.websocket import add_websocket

_logger = structlog.get_logger(__name__)
_DESCRIPTION = (
    "Open an account, enter and cancel orders. `/ws/orders` is the WebSocket for the same. "
    f"All market data is at this address too: [{PREFIX}/docs]({PREFIX}/docs)."
)
FLUSH_TIMEOUT_SECONDS = 5.0
"""Time to append the last commands when the gateway stops."""


class GatewaySettings(PublicSettings):
    """The settings of the gateway."""

    port: int = Field(default=8000, ge=0, le=65535, description="Port of REST and WebSocket.")
    gateway_number: int = Field(
        default=0, ge=0, lt=MAX_GATEWAY, description="A different number for each gateway of one market."
    )
    endowment_cash: Decimal = Field(default=Decimal(10_000), description="Cash of a new account.")
    endowment_credit: Decimal = Field(
        default=Decimal(0), description="Credit of a new account: the cash by which it may be below zero."
    )
    endowment_shares: dict[str, Decimal] = Field(
        default={},
        description='Shares of a new account, by symbol as JSON. "*" is every other security.',
    )
    endowment_short_limit: Decimal = Field(
        default=Decimal(10_000),
        description="The greatest value of all short positions of a new account together, in cash at the reference "
        "prices of the listing. 0 means no short positions.",
    )
    listing: Path | None = Field(
        default=None, description="CSV of the securities to list. Without one: a hundred stocks, BTC-USDT and ETH-USDT."
    )
    securities: int = Field(
        default=0, ge=0, description="Number of securities to list: the most traded of the listing first. 0 for all."
    )
    pricing: Literal["", "resting", "midpoint", "spread_capture"] = Field(
        default="",
        description="Pricing rule of every security that is listed from now on: resting, midpoint or spread_capture. "
        "Empty: the rule in the listing.",
    )
    registration: Literal["open", "invitation", "admin"] = Field(
        default="open",
        description="Who can open an account: everybody, clients with the code in secrets/invitation-code, or only the "
        "admin.",
    )
    requests_per_second: float = Field(
        default=1000, ge=0, description="Requests about orders of one client, a second. 0 for no limit."
    )
    open_orders: int = Field(default=20_000, ge=0, description="Open orders of one client. 0 for no limit.")
    address_accounts: int = Field(
        default=300,
        ge=0,
        description="Accounts that one address may open at once, and in an hour. The admin may open more. 0 for no limit.",
    )
    keys: int = Field(
        default=20, ge=0, description="Valid API keys of one client. The admin may issue more. 0 for no limit."
    )
    feed_url: Annotated[str, AfterValidator(checked_feed_url)] = Field(
        default="http://127.0.0.1:8001", description="Address of the market-data feed."
    )
    public_url: str = Field(
        default="",
        description="Address that the people of a classroom use, for the link and the QR code. Empty: "
        "http://127.0.0.1 and the port.",
    )
    disk_warning_percent: float = Field(
        default=80, ge=0, le=100, description="Use of a disk in percent from which the gateway warns. 0 for never."
    )
    disk_halt_percent: float = Field(
        default=95, ge=0, le=100, description="Use of a disk in percent from which new orders are refused. 0 for never."
    )
    disk_folders: list[Path] = Field(
        default=[],
        description="Folders on this machine whose disks the gateway checks, in addition to the data folder, as JSON: "
        "those of your own log and database.",
    )
    report_timeout: float = Field(default=10.0, gt=0, description="Seconds to wait for the engine's answer.")


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
        self._connections = connection_limits(settings)
        self._log = open_log(settings.log_url.get_secret_value(), settings.namespace)
        pricing = PricingRule(settings.pricing) if settings.pricing else None
        self._policy = ClassroomPolicy(pricing) if settings.classroom else MarketPolicy(pricing)
        self._order_service = OrderService(
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
                RateLimiter(settings.address_accounts / 3600, settings.address_accounts),
                settings.keys,
            ),
            self._endowment,
            self._policy,
        )
        code_file = settings.data_dir / "secrets" / "invitation-code"
        by_invitation = settings.registration == "invitation"
        self._registration = Registration(settings.registration, read_or_make_secret(code_file) if by_invitation else "")
        self._keys.revoked = self._order_service.keys.revoked
        self._disks = self._order_service.disks = DiskGuard(
            settings.data_dir,
            settings.disk_folders,
            settings.disk_warning_percent,
            settings.disk_halt_percent,
            self._health,
        )

    def _status(self) -> dict[str, Any]:
        latency = self._order_service.latency
        return {
            "number": self._settings.gateway_number,
            "last_command_id": str(self._order_service.last_command_id),
            "commands": latency.count,
            **dict(zip(("latency_p50", "latency_p95"), latency.percentiles(50, 95), strict=True)),
            "securities": len(self._order_service.state.securities),
            "disk_used_percent": round(self._disks.used_percent, 1),
            "disk_full": self._disks.is_full,
            "connections": self._connections.open,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set."""
        settings = self._settings
        listener = bind(settings.host, settings.port, settings.port_flag)
        access = Access(self._keys, settings.classroom)
        access.participants = self._order_service.participants
        token = self._keys.derived(PURPOSE)
        market_data = MarketData(settings.feed_url, token)
        app = self._make_app(access, market_data)
        _logger.info("starting", admin_token_file=str(self._keys.admin_token_file))
        try:
            async with background(self._work(), self._disks.watch()):
                await serve(app, listener, stop, self._connections, settings.trusted_proxies)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._order_service.flush(), FLUSH_TIMEOUT_SECONDS)
        finally:
            await market_data.close()
            await self._order_service.close()
            await self._log.close()

    def _make_app(self, access: Access, market_data: MarketData) -> FastAPI:
        settings, order_service, policy = self._settings, self._order_service, self._policy
        app = make_app(
            "microexchange order entry",
            _DESCRIPTION,
            self._health,
            self._status,
            settings.cors_origins,
            settings.address_requests_per_second,
            guards_pages=settings.classroom,
        )
        add_routes(app, order_service, access, self._registration, market_data)
        add_websocket(app, order_service, access)
        if isinstance(policy, ClassroomPolicy):
            public_url = settings.public_url or f"http://127.0.0.1:{settings.port}"
            pin = read_or_make_pin(settings.data_dir)
            add_classroom_routes(app, order_service, access, policy, market_data, pin, public_url)
        else:
            add_classroom_refusals(app)
        market_data.add_to(app)
        return app

    async def _work(self) -> None:
        order_service, backoff = self._order_service, Backoff()
        while True:
            try:
                await order_service.bootstrap()
                break
            except psycopg.OperationalError as error:
                _logger.error("database unavailable", cause=str(error).strip())
                await backoff.wait()
        async with background(
            order_service.append(), order_service.listen(), order_service.send_time_ticks(), order_service.watch_storage()
        ):
            await order_service.log_on()
            administration = Administration(order_service)
            for listing in self._listing:
                administration.list_security(listing)
            await asyncio.Event().wait()


def _read_listing(path: Path | None) -> list[ListSecurity]:
    """Return the securities to list.

    Raises:
        ListingError: A line is not valid.
        OSError: The file cannot be read.
        ValueError: The file is not text in UTF-8.
    """
    if path is None:
        return read_listing(files("order_entry_gateway").joinpath("listing.csv").read_text().splitlines())
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if unknown := unknown_columns(lines):
        _logger.warning("ignored unknown columns of the listing", listing=str(path), columns=unknown)
    return read_listing(lines)

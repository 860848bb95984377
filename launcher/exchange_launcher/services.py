"""The services of an exchange, the options of `up`, and the settings that each service gets from them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exchange_launcher import addresses

ENGINE, CLEARINGHOUSE, FEED, GATEWAY, BOTS = (
    "matching-engine",
    "clearinghouse",
    "market-data-feed",
    "order-entry-gateway",
    "trading-bots",
)
STOP_ORDER = (BOTS, GATEWAY, ENGINE, CLEARINGHOUSE, FEED)
"""The order in which services stop. Senders stop first. The feed stops last, because it stores the reports of the others."""
HOUSE_SECURITIES_IN_A_LISTING_FILE = 20
"""The number of securities of a listing file that the house bots trade by default."""


@dataclass(frozen=True)
class UpOptions:
    """The options of an exchange that `up` or `compete` starts."""

    data: Path
    log: str | None = None
    database: str | None = None
    namespace: str = ""
    host: str = "127.0.0.1"
    gateway_port: int = 8000
    feed_port: int = 8001
    engine_port: int = 8002
    clearing_port: int = 8003
    bots: int = 12
    classroom: bool = False
    pricing: str | None = None
    """The pricing rule of all securities. None keeps the rules of the listing."""
    seconds: float | None = None
    """The duration of the run. None runs until Ctrl-C."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings of the services, by the name of their environment variable."""
    listing: Path | None = None
    """The CSV file of the securities to list. None is the listing that is included."""
    securities: int = 0
    """The number of securities to list. House bots trade all of them. 0 lists all, and house bots trade some."""


@dataclass(frozen=True)
class Service:
    """A service, and the port on which it listens."""

    name: str
    port: int
    flag: str
    """The option that sets the port."""
    public: bool = False
    """Whether clients connect to it. The other services listen on loopback only."""


class Services:
    """The services of one exchange, their addresses and their settings."""

    def __init__(self, options: UpOptions) -> None:
        self._options = options
        services = (
            Service(ENGINE, options.engine_port, "--engine-port"),
            Service(CLEARINGHOUSE, options.clearing_port, "--clearing-port"),
            Service(FEED, options.feed_port, "--feed-port", public=True),
            Service(GATEWAY, options.gateway_port, "--gateway-port", public=True),
        )
        self.by_name = {service.name: service for service in services}
        """The services by name, in the order in which they start."""

    def host(self, service: Service) -> str:
        """Return the address on which a service listens."""
        return self._options.host if service.public else "127.0.0.1"

    def url(self, name: str) -> str:
        """Return the URL by which this machine connects to a service."""
        service = self.by_name[name]
        return addresses.url(addresses.local_host(self.host(service)), service.port)

    def environment(self, service: Service, database_url: str, log_url: str) -> dict[str, str]:
        """Return the settings of a service as environment variables."""
        options = self._options
        environment = {
            "MX_DATABASE_URL": database_url,
            "MX_LOG_URL": log_url,
            "MX_NAMESPACE": options.namespace,
            "MX_DATA_DIR": str(options.data),
            "MX_CLASSROOM": str(options.classroom),
            **({"MX_PRICING": options.pricing} if options.pricing else {}),
            **options.settings,
            "MX_HOST": self.host(service),
            "MX_PORT": str(service.port),
            "MX_PORT_FLAG": service.flag,
        }
        if service.name == FEED:
            others = {name: self.url(name) for name in self.by_name if name != FEED}
            environment |= {"MX_GATEWAY_PORT": str(options.gateway_port), "MX_SERVICES": json.dumps(others)}
        elif service.name == GATEWAY:
            public = addresses.public_host(options.host) or addresses.local_host(options.host)
            environment |= {"MX_FEED_URL": self.url(FEED), "MX_PUBLIC_URL": addresses.url(public, options.gateway_port)}
            environment |= _listing_settings(options)
        return environment

    def environment_of_bots(self) -> dict[str, str]:
        """Return the settings of the house bots as environment variables."""
        return {
            "MX_GATEWAY_URL": self.url(GATEWAY),
            "MX_FEED_URL": self.url(FEED),
            "MX_HOUSE_BOTS": str(self._options.bots),
            **_house_settings(self._options),
            "MX_DATA_DIR": str(self._options.data),
        }


def _listing_settings(options: UpOptions) -> dict[str, str]:
    """Return the gateway's settings for the listing."""
    settings = {}
    if options.listing is not None:
        settings["MX_LISTING"] = str(options.listing.absolute())
    if options.securities:
        settings["MX_SECURITIES"] = str(options.securities)
    return settings


def _house_settings(options: UpOptions) -> dict[str, str]:
    """Return the house bots' settings for their securities."""
    count = options.securities or (HOUSE_SECURITIES_IN_A_LISTING_FILE if options.listing is not None else 0)
    return {"MX_HOUSE_SYMBOLS": str(count)} if count else {}

"""Settings that all services share. Each is an environment variable `MX_…`, a flag of the service, or an argument in a test.

If `MX_SECRETS_DIR` names a folder, a setting may also be a file in it with the name of the variable in lower case. So
addresses with passwords need not be in the environment.
"""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_data_path, user_state_path
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from microexchange.connection_limits import ConnectionLimits, available_connections
from microexchange.number_fields import as_pydantic_error, plain_setting
from microexchange.numbers import NotPlainError


def default_data_dir() -> Path:
    """Return the default data folder of a market."""
    return user_data_path("microexchange")


def default_running_dir() -> Path:
    """Return the folder in which a running exchange publishes its addresses for the other commands."""
    return user_state_path("microexchange") / "running"


NAMESPACE = r"^[a-z0-9_]{0,32}$"
"""The pattern of a namespace."""


class PlainSettings(BaseSettings):
    """The base of all settings: numbers in variables, flags and files are plain."""

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        try:
            return plain_setting(cls.model_fields[str(info.field_name)].annotation, value)
        except NotPlainError as error:
            raise as_pydantic_error(error) from error


class _Settings(PlainSettings):
    model_config = SettingsConfigDict(env_prefix="MX_", extra="ignore", secrets_dir=os.environ.get("MX_SECRETS_DIR"))

    namespace: str = Field(
        default="",
        pattern=NAMESPACE,
        description="Prefix of the names of exchanges, queues and databases, so that several markets can share a server.",
    )


class DatabaseSettings(_Settings):
    """The settings of a command that only needs the database."""

    database_url: SecretStr | None = Field(default=None, description="The Postgres server: postgresql://…")


class PlaceSettings(DatabaseSettings):
    """The settings of a command for an exchange that it did not start."""

    log_url: SecretStr | None = Field(default=None, description="The log. By default it is on the server of the databases.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of snapshots and secrets.")
    running_dir: Path = Field(
        default_factory=default_running_dir, description="Folder with one file for each running exchange of this machine."
    )


class ServiceSettings(_Settings):
    """The settings of every service."""

    log_url: SecretStr = Field(description="The log: amqp://… or postgresql://…")
    database_url: SecretStr = Field(description="The Postgres server of the databases: postgresql://…")
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of snapshots and secrets.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, ge=0, le=65535, description="Port to listen on. Each service has its own default.")
    port_flag: str = Field(default="MX_PORT", description="Name of the port's setting in the error message for a busy port.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    nice: int = Field(default=0, ge=0, le=19, description="Scheduling, as in nice(1): a greater value is a lower priority.")
    profile: Path | None = Field(default=None, description="Folder for a profile by cProfile, which is written at the end.")
    parent_pipe: bool = Field(
        default=False,
        description="Stop when standard input closes. The launcher sets it, so that services end with it.",
    )


def checked_network(text: str) -> str:
    """Return `text`.

    Raises:
        ValueError: It is neither an IP address nor a network such as `10.0.0.0/8`.
    """
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither an IP address nor a network: use one like 10.0.0.7 or 10.0.0.0/8") from error
    return text


class PublicSettings(ServiceSettings):
    """The settings of a service with interfaces for clients."""

    classroom: bool = Field(default=False, description="Classroom mode: a client needs only a name, and no key.")
    address_requests_per_second: float = Field(
        default=20_000, ge=0, description="HTTP requests and new WebSockets of one address a second; 0 means no limit."
    )
    cors_origins: list[str] = Field(
        default=[], description='Origins whose pages may send requests, as JSON; ["*"] means all.'
    )
    trusted_proxies: list[Annotated[str, AfterValidator(checked_network)]] = Field(
        default=[],
        description="Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` count: addresses or networks, as JSON.",
    )
    total_connections: int = Field(
        default=10_000,
        ge=0,
        description="Open connections of the service. 0 for as many as the operating system allows.",
    )
    address_connections: int = Field(
        default=1000, ge=0, description="Open connections of one address, HTTP and WebSocket. 0 for no limit."
    )
    connections: int = Field(default=100, ge=0, description="WebSockets of one client at one service. 0 for no limit.")


def connection_limits(settings: PublicSettings) -> ConnectionLimits:
    """Return the limits of a service's connections. There are never more than the operating system allows."""
    available = available_connections()
    total = min(settings.total_connections or available, available)
    return ConnectionLimits(total, settings.address_connections, settings.connections, settings.trusted_proxies)

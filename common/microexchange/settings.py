"""Settings that all services share. Each is an environment variable `MX_…`, a flag of the service, or an argument to the
class in a test.

Where `MX_SECRETS_DIR` names a folder, a setting may also be a file in it, called like the variable in small letters: so the
addresses that carry passwords need not stand in the environment.
"""

import os
from pathlib import Path

from platformdirs import user_data_path, user_state_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Where a market keeps its files unless told otherwise."""
    return user_data_path("microexchange")


def default_running_dir() -> Path:
    """The folder in which a running exchange publishes its addresses for the other commands."""
    return user_state_path("microexchange") / "running"


NAMESPACE = r"^[a-z0-9_]{0,32}$"
"""What a namespace looks like."""


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MX_", extra="ignore", secrets_dir=os.environ.get("MX_SECRETS_DIR"))

    namespace: str = Field(
        default="",
        pattern=NAMESPACE,
        description="Put before every exchange, queue and database name, so that several markets share one server.",
    )


class DatabaseSettings(_Settings):
    """What a command that only needs the database is told."""

    database_url: SecretStr | None = Field(default=None, description="The Postgres server: postgresql://…")


class PlaceSettings(DatabaseSettings):
    """Where a command finds an exchange that it did not start."""

    log_url: SecretStr | None = Field(default=None, description="The log; without one, it is in the database's server.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of snapshots and secrets.")
    running_dir: Path = Field(
        default_factory=default_running_dir, description="Folder with a file for each exchange that runs on this machine."
    )


class ServiceSettings(_Settings):
    """What every service is told."""

    log_url: SecretStr = Field(description="The log: amqp://… or postgresql://…")
    database_url: SecretStr = Field(description="The Postgres server of the databases: postgresql://…")
    data_dir: Path = Field(default_factory=default_data_dir, description="Folder of snapshots and secrets.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, ge=0, le=65535, description="Port to listen on; each service has its own default.")
    port_flag: str = Field(default="MX_PORT", description="What to change when the port is busy, for the error.")
    log_level: str = Field(default="info", description="debug, info, warning or error.")
    nice: int = Field(default=0, ge=0, le=19, description="How readily to leave the processor to others, as in nice(1).")
    profile: Path | None = Field(default=None, description="Folder to write a profile into at the end, as cProfile does.")
    parent_pipe: bool = Field(
        default=False, description="Stop when standard input closes: set by the launcher, so that none outlives it."
    )


class PublicSettings(ServiceSettings):
    """What a service is told that clients speak with."""

    classroom: bool = Field(default=False, description="Classroom mode: clients are known by their names alone.")
    address_requests_per_second: float = Field(
        default=20_000, ge=0, description="HTTP requests and new WebSockets of one address; 0 for any."
    )
    cors_origins: list[str] = Field(default=[], description='Origins whose pages may ask, as JSON; ["*"] for all.')

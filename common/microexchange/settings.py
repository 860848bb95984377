"""Settings that all services share. Each is an environment variable `MX_…`, a flag of the service, or an argument in a test.

If `MX_SECRETS_DIR` names a folder, a setting may also be a file in it with the name of the variable in lower case. So
addresses with passwords need not be in the environment.
"""

import os
from pathlib import Path

from platformdirs import user_data_path, user_state_path
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Return the default data folder of a market."""
    return user_data_path("microexchange")


def default_running_dir() -> Path:
    """Return the folder in which a running exchange publishes its addresses for the other commands."""
    return user_state_path("microexchange") / "running"


NAMESPACE = r"^[a-z0-9_]{0,32}$"
"""The pattern of a namespace."""


class _Settings(BaseSettings):
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


class PublicSettings(ServiceSettings):
    """The settings of a service with interfaces for clients."""

    classroom: bool = Field(default=False, description="Classroom mode: a client needs only a name, and no key.")
    address_requests_per_second: float = Field(
        default=20_000, ge=0, description="HTTP requests and new WebSockets of one address a second; 0 means no limit."
    )
    cors_origins: list[str] = Field(
        default=[], description='Origins whose pages may send requests, as JSON; ["*"] means all.'
    )

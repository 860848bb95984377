"""The log: ordered, durable topics of bodies, each at an offset that counts up from 0.

Three implementations behind one protocol: `RabbitLog` (RabbitMQ streams: a deployment), `PostgresLog` (the embedded
default) and `MemoryLog` (unit tests and the simulation). `tests/contract` holds what all three promise.
"""

from microexchange.log.protocol import Backoff, Log, LogUnavailableError, open_log

__all__ = ["Backoff", "Log", "LogUnavailableError", "open_log"]

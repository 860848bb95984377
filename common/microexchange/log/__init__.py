"""The log: ordered, durable topics of bodies, each at an offset that counts up from 0.

`Log` has three implementations: `RabbitLog` for deployments (RabbitMQ streams), `PostgresLog` for the embedded default, and
`MemoryLog` for unit tests and the simulation. `tests/contract/test_log.py` tests the guarantees of all three.
"""

from microexchange.log.protocol import Backoff, Log, LogUnavailableError, open_log

__all__ = ["Backoff", "Log", "LogUnavailableError", "open_log"]

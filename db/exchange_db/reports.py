"""Rows of `market_data` as the records from which they were made."""

from collections.abc import Callable, Sequence
from typing import Final

from exchange_db.rows import record_reader, stored_fields
from exchange_db.tables import order_reports, participants, securities, trades
from microexchange.reports import OrderReport, ParticipantChanged, SecurityListed, Trade

COLUMNS: Final = stored_fields(order_reports, OrderReport)
"""The columns of `order_reports` that are fields of the report: all but `report_id`."""
TRADE_COLUMNS: Final = stored_fields(trades, Trade)
"""The columns of `trades`."""
LISTING_COLUMNS: Final = stored_fields(securities, SecurityListed)
"""The columns of `securities` that are fields of the listing. `state` has the current state of the market."""
PARTICIPANT_COLUMNS: Final = stored_fields(participants, ParticipantChanged)
"""The columns of `participants`."""
_ALL = ", ".join(PARTICIPANT_COLUMNS)
READ_PARTICIPANTS: Final = f"SELECT {_ALL} FROM participants ORDER BY timestamp, client_id"  # noqa: S608  # nosec B608

order_report: Final[Callable[[Sequence[object]], OrderReport]] = record_reader(OrderReport, COLUMNS)
"""Return the report with these values of `COLUMNS`."""
trade: Final[Callable[[Sequence[object]], Trade]] = record_reader(Trade, TRADE_COLUMNS)
"""Return the trade with these values of `TRADE_COLUMNS`."""
security_listed: Final[Callable[[Sequence[object]], SecurityListed]] = record_reader(
    SecurityListed, LISTING_COLUMNS, command_id=0, timestamp=0
)
"""Return the listing with these values of `LISTING_COLUMNS`. The command's id and time are not stored: they are 0."""
participant: Final[Callable[[Sequence[object]], ParticipantChanged]] = record_reader(ParticipantChanged, PARTICIPANT_COLUMNS)
"""Return the participant with these values of `PARTICIPANT_COLUMNS`."""

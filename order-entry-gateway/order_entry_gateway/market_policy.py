"""The difference between a market and a classroom, for the rest of the gateway."""

from collections.abc import Sequence, Set

from msgspec.structs import replace

from microexchange.commands import Command, ListSecurity
from microexchange.enums import PricingRule
from microexchange.records import Record
from order_entry_gateway.classroom import ClassroomState, NamedTrade, classroom_terms
from order_entry_gateway.order_history import StoredState


class MarketPolicy:
    """The policy of a market. `ClassroomPolicy` is the other one."""

    has_public_orders = False
    """Whether `load` needs the open orders."""

    def __init__(self, pricing: PricingRule | None = None) -> None:
        self._pricing = pricing
        """The pricing rule of every security that is listed; None for the rule in its listing."""

    def load(self, stored: StoredState) -> None:
        """Start from the stored state."""

    def adapt(self, command: Command) -> Command:
        """Return the command with the terms of this market."""
        if self._pricing is not None and isinstance(command, ListSecurity):
            return replace(command, pricing_rule=self._pricing)
        return command

    def must_open_account(self, client_id: str, clients: Set[str]) -> bool:
        """Return whether the gateway opens an account before an order of the client. `clients` have one."""
        return False

    def apply(self, reports: Sequence[Record]) -> Sequence[NamedTrade]:
        """Apply reports of the engine. Return the trades to publish."""
        return ()


class ClassroomPolicy(MarketPolicy):
    """The policy of a classroom: a first order opens an account, accounts have credit, and orders and trades are public."""

    has_public_orders = True

    def __init__(self, pricing: PricingRule | None = None) -> None:
        super().__init__(pricing)
        self.classroom_state = ClassroomState()

    def load(self, stored: StoredState) -> None:
        """Start from the stored state."""
        self.classroom_state.load(stored.listings, stored.last_prices, stored.open_orders, stored.profit)

    def adapt(self, command: Command) -> Command:
        """Return the command with the terms of a classroom."""
        return super().adapt(classroom_terms(command))

    def must_open_account(self, client_id: str, clients: Set[str]) -> bool:
        """Return whether the client has no account yet."""
        return client_id not in clients

    def apply(self, reports: Sequence[Record]) -> Sequence[NamedTrade]:
        """Apply reports of the engine. Return the trades among them."""
        return self.classroom_state.apply(reports)

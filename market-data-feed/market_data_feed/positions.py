"""A client's position in one security by the average-cost method. Integers, no I/O, no clock."""

from dataclasses import dataclass


@dataclass(slots=True)
class Position:
    """The open lots of a position, what they cost, and what its closed lots earned. Amounts are in cash units.

    A short position has negative lots and a negative cost: the proceeds of its sales.
    """

    quantity: int = 0
    """Lots, from fills and transfers. Settlement follows later."""
    cost: int = 0
    """The price of the open lots, without fees."""
    realised: int = 0
    """The profit of all closed lots, without fees."""
    fees: int = 0
    """The fees of all fills, less rebates."""
    day: int = 0
    """The day of the newest change, in days of Unix time."""
    opening_quantity: int = 0
    """The lots at the start of `day`."""
    opening_result: int = 0
    """The result at the start of `day`."""
    trades: int = 0
    """Fills. A position that only transfers have changed has none."""

    @property
    def result(self) -> int:
        """Return the sum of all payments for trades, less fees. With the value of the open lots, it is the whole profit."""
        return self.realised - self.cost - self.fees

    def begin_day(self, day: int) -> None:
        """Store the state at the start of `day` before its first change. An earlier day has no effect."""
        if day > self.day:
            self.day, self.opening_quantity, self.opening_result = day, self.quantity, self.result

    def trade(self, lots: int, lot_price: int, fee: int = 0) -> None:
        """Buy `lots`, or sell them if negative, at `lot_price` cash units a lot.

        Lots against the position close it at its average cost. A part of the cost is rounded to zero, and the last lot takes
        the rest of the cost.
        """
        self.fees += fee
        held = self.quantity
        if held and (held < 0) != (lots < 0):
            sign, closed = 1 if held > 0 else -1, min(abs(lots), abs(held))
            cost = sign * (abs(self.cost) * closed // abs(held))
            self.realised += sign * closed * lot_price - cost
            self.cost -= cost
            self.quantity -= sign * closed
            lots += sign * closed
        self.quantity += lots
        self.cost += lots * lot_price

    def unrealised(self, value: int) -> int:
        """Return the profit of the open lots, without fees. `value` is their present value, negative if they are short."""
        return value - self.cost

    def of_day(self, day: int, value: int, opening_price: int) -> int:
        """Return the change of the whole profit since the start of `day`, with fees.

        `value` is the present value of the open lots. `opening_price` is the value of a lot at the start of `day`.
        """
        if self.day == day:
            quantity, result = self.opening_quantity, self.opening_result
        else:
            quantity, result = self.quantity, self.result
        return self.result + value - result - quantity * opening_price

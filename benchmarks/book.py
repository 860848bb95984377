"""`./mx bench book`: adds, cancels and marketable orders in one book, compared with books from PyPI.

The row "microexchange" is `matching_engine.book` with a loop that trades. It has no credit checks, fees or events.
"""

from collections.abc import Callable
from typing import Any

from benchmarks import harness
from benchmarks.flow import Step, flow
from benchmarks.peers import peers
from matching_engine.account import Account
from matching_engine.book import Book, Order
from microexchange.commands import NewOrder
from microexchange.enums import OrderType, Side


def entry(step: Step) -> NewOrder:
    """Return the command that enters the order of a step."""
    side = Side.BUY if step.is_buy else Side.SELL
    return NewOrder(step.order, 0, "a", "X", side, OrderType.LIMIT, step.quantity, step.price)


def prepare_ours(steps: list[Step]) -> Callable[[], Any]:
    """Return a run of the flow over our book. The orders are made in advance, since an exchange receives them."""
    account = Account("a", 0)
    orders = {
        step.order: Order(
            NewOrder(
                step.order, 0, "a", "X", Side.BUY if step.is_buy else Side.SELL, OrderType.LIMIT, step.quantity, step.price
            ),
            account,
        )
        for step in steps
        if step.action != "cancel"
    }
    book = Book()
    plan = [(step.action == "cancel", orders[step.order], step.price) for step in steps]
    return lambda: run(book, plan)


def run(book: Book, plan: list[tuple[bool, Order, int]]) -> int:
    """Run the flow and return the number of traded lots."""
    bids, asks, buy = book.bids, book.asks, Side.BUY
    traded = 0
    for is_cancel, order, price in plan:
        own, other = (bids, asks) if order.entry.side is buy else (asks, bids)
        if is_cancel:
            if order.level is not None:
                own.remove(order)
            continue
        level = other.best()
        while level is not None and (level.price <= price if own is bids else level.price >= price):
            maker = level.head
            while maker is not None and order.visible:
                quantity = min(order.visible, maker.visible)
                order.visible -= quantity
                maker.visible -= quantity
                level.quantity -= quantity
                traded += quantity
                if not maker.visible:
                    other.remove(maker)
                maker = level.head
            if not order.visible:
                break
            level = other.best()
        if order.visible:
            own.add(order, price)
    return traded


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", events=200_000, rounds=harness.ROUNDS)
    steps = flow(options.events)
    contenders: dict[str, harness.Contender] = {"microexchange": (len(steps), lambda: prepare_ours(steps))}
    notes = {"microexchange": f"{prepare_ours(steps)():,} lots traded"}
    with harness.Report("book", options) as report:
        for peer in peers():
            part = steps[: peer.max_steps]
            contenders[peer.name] = (len(part), lambda peer=peer, part=part: peer.prepare(part))
            theirs, expected = peer.prepare(part)(), prepare_ours(part)()
            verdict = "the same lots" if theirs == expected else f"{theirs:,} lots, but microexchange trades {expected:,}"
            notes[peer.name] = verdict + ("" if len(part) == len(steps) else f", over the first {len(part):,} events")
    figures = [
        harness.Figure(figure.name, figure.rates, notes[figure.name])
        for figure in harness.side_by_side(contenders, report, options.rounds, "events/s")
    ]
    harness.add_figures(report.table(*harness.headings("events/s")), figures)
    picture = harness.PAGE.parent / "images" / "bench-book.svg"
    title = "One book: adds, cancels, marketable orders (logarithmic)"
    report.finish(
        {
            "events": len(steps),
            "figures": {figure.name: {"events_per_second": figure.median, "noise": figure.noise} for figure in figures},
        },
        "![Events a second of each book](images/bench-book.svg)",
        lambda: harness.plot(picture, title, figures, "events/s"),
    )


if __name__ == "__main__":
    main()

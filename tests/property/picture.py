"""All that an engine knows, as plain data, so that two engines can be compared.

Attributes are found, not listed: a new one is compared from the first day. What a snapshot need not hold is named here, with
what it stands for: empty prices, timers and triggers of orders that have ended, holdings of nothing.
"""

from typing import Any

from matching_engine.account import Account, Holding
from matching_engine.book import BookSide, Level, Order
from matching_engine.engine import Engine
from matching_engine.stops import StopBook


def picture(engine: Engine) -> dict[str, Any]:
    """The engine's attributes, and those of all that it has."""
    own = dict(vars(engine))
    own["timers"] = sorted({timer for timer in own["timers"] if _has_effect(engine, timer)})
    own["markets"] = list(own["markets"].items())
    return {name: _plain(value) for name, value in own.items()}


def _has_effect(engine: Engine, timer: tuple[int, str, int]) -> bool:
    at, name, order_id = timer
    if not order_id:
        return engine.markets[name].ends_at == at
    order = engine.accounts[name].orders.get(order_id)
    return order is not None and order.entry.expire_at == at


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case Account():
            own = _slots(value)
            own["holdings"] = {symbol: one for symbol, one in value.holdings.items() if _is_something(one)}
            return _plain(own)
        case Order():
            own = _slots(value)
            own["account"] = value.account.client_id
            for name in ("older", "newer"):
                own[name] = None if own[name] is None else own[name].entry.command_id
            own["level"] = None if value.level is None else value.level.price
            return _plain(own)
        case Level():
            own = _slots(value)
            return _plain([own.pop("head") is not None, own.pop("tail") is not None, own, list(value)])
        case BookSide():
            own = _slots(value)
            del own["_heap"]
            own["levels"] = list(value.best_first())
            return _plain(own)
        case StopBook():
            own = _slots(value)
            for heap in ("_rising", "_falling"):
                own[heap] = sorted(entry for entry in own[heap] if value._is_live(entry))
            return _plain(own)
        case _ if hasattr(value, "__slots__") and type(value).__module__.startswith("matching_engine."):
            return _plain(_slots(value))
        case _:
            return value


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


def _is_something(holding: Holding) -> bool:
    return bool(holding.quantity or holding.offered or holding.bid)

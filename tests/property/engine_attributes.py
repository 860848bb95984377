"""All attributes of an engine as plain data, to compare two engines.

The attributes are found by reflection, so a new attribute is compared automatically. The data leaves out state without
effect that a snapshot does not contain: empty prices, timers and triggers of ended orders, and empty holdings.
"""

from typing import Any

from matching_engine.account import Account, Holding
from matching_engine.book import BookSide, Level, Order
from matching_engine.engine import Engine
from matching_engine.stops import StopBook


def attributes_of(engine: Engine) -> dict[str, Any]:
    """Return the attributes of an engine and of all objects that it contains."""
    own = dict(vars(engine))
    own["timers"] = sorted({timer for timer in own["timers"] if engine.has_effect(timer)})
    own["markets"] = list(own["markets"].items())
    return {name: _plain(value) for name, value in own.items()}


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Account():
            own = _slots(value)
            own["holdings"] = {symbol: holding for symbol, holding in value.holdings.items() if not _is_empty(holding)}
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
                own[heap] = sorted(entry for entry in own[heap] if value._is_waiting(entry))
            return _plain(own)
        case _ if hasattr(value, "__slots__") and type(value).__module__.startswith("matching_engine."):
            return _plain(_slots(value))
        case _:
            return value


def _slots(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


def _is_empty(holding: Holding) -> bool:
    return not (holding.quantity or holding.offered or holding.bid)

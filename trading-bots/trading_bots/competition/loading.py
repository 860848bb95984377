"""Load the class of a bot: from a Python file, or from the strategies of the exchange."""

import importlib.util
import inspect
import random
import sys
import traceback
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trading_bots.strategies as shipped
from trading_bots.bot import Bot


class LoadError(RuntimeError):
    """The bot cannot be loaded. The message states why."""


def bot_in_file(text: str, folder: Path = Path()) -> type[Bot]:
    """Return the class that `my_bot.py:MyBot` names. Without a name, return the only bot in the file.

    Raises:
        LoadError: There is no such file or class, or the file fails to load.
    """
    path = check_file(text, folder)
    file, _, name = text.partition(":")
    spec = importlib.util.spec_from_file_location(f"bot_in_{zlib.crc32(str(path.resolve()).encode()):x}", path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        line = next(
            (
                f":{frame.lineno}"
                for frame in reversed(traceback.extract_tb(error.__traceback__))
                if frame.filename in files_named(file, folder)
            ),
            "",
        )
        raise LoadError(f"{path}{line}: {type(error).__name__}: {error}") from error
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Bot) and value.__module__ == spec.name
    }
    if not name and len(classes) == 1:
        return next(iter(classes.values()))
    if name not in classes:
        raise LoadError(f"{path} has no bot {name!r}; it has {', '.join(sorted(classes)) or 'none'}")
    return classes[name]


def check_file(text: str, folder: Path = Path()) -> Path:
    """Return the path of the file in `my_bot.py:MyBot`. Nothing is loaded.

    Raises:
        LoadError: There is no such file.
    """
    path = folder / text.partition(":")[0]
    if not path.is_file():
        ships = ", ".join(shipped.__all__)
        raise LoadError(
            f"there is no file {path}: name a file, as in my_bot.py:MyBot, or a strategy of the exchange: {ships}"
        )
    return path


def check_name(text: str, folder: Path = Path()) -> None:
    """Check that there is the file or the strategy that a text names. Nothing is loaded.

    Raises:
        LoadError: There is none.
    """
    if is_shipped(text):
        shipped_bot(text)
    else:
        check_file(text, folder)


def files_named(file: str, folder: Path) -> set[str]:
    """Return the file names that tracebacks of a bot's file may have. Empty if the contestant has no file."""
    if not file:
        return set()
    path = folder / file.partition(":")[0]
    return {str(path), str(path.absolute())}


def find_bot(text: str, folder: Path = Path()) -> type[Bot]:
    """Return the bot that a command names: `my_bot.py`, `my_bot.py:MyBot`, or the class of a strategy.

    Raises:
        LoadError: There is no such bot.
    """
    return shipped_bot(text) if is_shipped(text) else bot_in_file(text, folder)


def is_shipped(text: str) -> bool:
    """Return whether a text is the name of a strategy's class, and not a file."""
    return text.isidentifier()


def shipped_bot(name: str) -> type[Bot]:
    """Return the class of that name in `trading_bots.strategies`.

    Raises:
        LoadError: There is no such strategy.
    """
    if name not in shipped.__all__:
        raise LoadError(
            f"there is no strategy {name!r}. The strategies are {', '.join(shipped.__all__)}. "
            "For a file, write its name: my_bot.py"
        )
    strategy: type[Bot] = getattr(shipped, name)
    return strategy


def contestant_bot(file: str, strategy: str, folder: Path) -> type[Bot]:
    """Return the class of a contestant: from a file, or a strategy of the exchange.

    Raises:
        LoadError: There is no such bot.
    """
    return bot_in_file(file, folder) if file else shipped_bot(strategy)


def make_bot(bot_class: type[Bot], seed: str, settings: Mapping[str, Any] | None = None) -> Bot:
    """Create a bot. If its class takes a `seed`, the argument is a number derived from `seed`.

    Raises:
        LoadError: The class raises an error.
    """
    arguments = dict(settings or {})
    if "seed" in inspect.signature(bot_class).parameters:
        arguments.setdefault("seed", random.Random(seed).getrandbits(32))
    try:
        return bot_class(**arguments)
    except Exception as error:
        raise LoadError(f"{bot_class.__name__} cannot be created: {type(error).__name__}: {error}") from error

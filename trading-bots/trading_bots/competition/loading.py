"""Finds a bot: a class in a file of somebody's, or one that ships."""

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
    """There is no such bot; the message says what is wrong."""


def bot_in_file(text: str, folder: Path = Path()) -> type[Bot]:
    """The class that `my_bot.py:MyBot` names; without a name, the only bot in the file. Raises `LoadError`."""
    file, _, name = text.partition(":")
    path = folder / file
    if not path.is_file():
        ships = ", ".join(shipped.__all__)
        raise LoadError(f"there is no file {path}: name one, my_bot.py:MyBot, or a strategy that ships: {ships}")
    spec = importlib.util.spec_from_file_location(f"bot_in_{zlib.crc32(str(path.resolve()).encode()):x}", path)
    if spec is None or spec.loader is None:
        raise LoadError(f"{path} is no Python file")
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
    found = {
        key: one
        for key, one in vars(module).items()
        if inspect.isclass(one) and issubclass(one, Bot) and one.__module__ == spec.name
    }
    if not name and len(found) == 1:
        return next(iter(found.values()))
    if name not in found:
        raise LoadError(f"{path} has no bot {name!r}; it has {', '.join(sorted(found)) or 'none'}")
    return found[name]


def files_named(file: str, folder: Path) -> set[str]:
    """The names that Python has for a bot's file, where the contestant has one."""
    if not file:
        return set()
    path = folder / file.partition(":")[0]
    return {str(path), str(path.absolute())}


def find_bot(text: str, folder: Path = Path()) -> type[Bot]:
    """The bot that a command names: `my_bot.py`, `my_bot.py:MyBot`, or the class of a strategy that ships. Raises
    `LoadError`."""
    return shipped_bot(text) if is_shipped(text) else bot_in_file(text, folder)


def is_shipped(text: str) -> bool:
    """Whether a text names the class of a strategy, and no file."""
    return text.isidentifier()


def shipped_bot(name: str) -> type[Bot]:
    """The class of that name in `trading_bots.strategies`. Raises `LoadError`."""
    if name not in shipped.__all__:
        raise LoadError(f"no bot {name!r} ships; these do: {', '.join(shipped.__all__)}. A file is named my_bot.py")
    found: type[Bot] = getattr(shipped, name)
    return found


def contestant_bot(file: str, strategy: str, folder: Path) -> type[Bot]:
    """A contestant's class: in a file, or one that ships. Raises `LoadError`."""
    return bot_in_file(file, folder) if file else shipped_bot(strategy)


def make_bot(kind: type[Bot], seed: str, settings: Mapping[str, Any] | None = None) -> Bot:
    """An instance. One that takes a `seed` gets a number of its own. Raises `LoadError`."""
    arguments = dict(settings or {})
    if "seed" in inspect.signature(kind).parameters:
        arguments.setdefault("seed", random.Random(seed).getrandbits(32))
    try:
        return kind(**arguments)
    except Exception as error:
        raise LoadError(f"{kind.__name__} cannot be made: {type(error).__name__}: {error}") from error

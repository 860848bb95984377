"""Mutations that keep the structure of an input: fields of JSON and msgpack change, and the text stays valid.

Random bytes rarely pass the first check of a structured message. So half of the mutations change the decoded value.
"""

import copy
import random
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec


class Format(Enum):
    """The structure of an input."""

    BYTES = "bytes"
    LINES = "lines"
    """Lines. Each has one byte that chooses, and JSON."""
    MSGPACK = "msgpack"
    """One byte that chooses, and msgpack."""


UNUSUAL: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 63, 1e308, 0.1, -0.0, "", "\0", "\x1b[2J", "é" * 80,
    "\ud7ff", "٣", "1_000", "1e5", "1e999", "1e-999", "NaN", "-0", "Infinity", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", "2030-01-01T00:00:00Z", "9" * 40, "0." + "0" * 30 + "1", "AAPL", "X", "alice", "*", "$fees",
    "admin", "=1+1", "../..", [], {}, [[]], {"": 0},
)  # fmt: skip


def mutate(format: Format, data: bytes, max_bytes: int, seed: int, mutate_bytes: Callable[[bytes, int], bytes]) -> bytes:
    """Return a changed input. `mutate_bytes` is the mutation without structure."""
    rng = random.Random(seed)
    if format is Format.BYTES or rng.random() < 0.5:
        return mutate_bytes(data, max_bytes)
    if format is Format.MSGPACK:
        return _changed(rng, data, msgspec.msgpack.decode, msgspec.msgpack.encode, mutate_bytes, max_bytes)
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    match rng.randrange(8):
        case 0:
            lines.insert(at, rng.choice(lines))
        case 1 if len(lines) > 1:
            del lines[at]
        case 2:
            lines[at] = bytes([rng.randrange(33, 127)]) + lines[at][1:]
        case _:
            lines[at] = _changed(rng, lines[at], msgspec.json.decode, msgspec.json.encode, mutate_bytes, max_bytes)
    return b"\n".join(lines)[:max_bytes]


def _changed(
    rng: random.Random,
    data: bytes,
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes],
    mutate_bytes: Callable[[bytes, int], bytes],
    max_bytes: int,
) -> bytes:
    """Return an input whose value has changes. An input without a value changes as bytes."""
    try:
        value = decode(data[1:])
        for _ in range(rng.randint(1, 3)):
            value = _change(rng, value)
        return (data[:1] + encode(value))[:max_bytes]
    except (ValueError, OverflowError, TypeError, LookupError, RecursionError):
        return mutate_bytes(data, max_bytes)


def _change(rng: random.Random, value: Any) -> Any:
    """Return a value with one change, at any depth."""
    children: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value))) if _is_list(value) else []
    if children and rng.random() < 0.9:
        key = rng.choice(children)
        match rng.randrange(6):
            case 0:
                del value[key]
            case 1 if isinstance(value, dict):
                value[rng.choice(("id", "op", "odd", "symbol", "price", "*"))] = copy.deepcopy(rng.choice(UNUSUAL))
            case 1:
                value.insert(key, value[rng.choice(children)])
            case 2 if isinstance(value, dict):
                value[key] = value[rng.choice(children)]
            case _:
                value[key] = _change(rng, value[key])
        return value
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 256, -value, value))
    if isinstance(value, str) and value and rng.random() < 0.3:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice("0179.-+eE_ \0\x1b$*") + value[at + rng.randint(0, 1) :]
    return copy.deepcopy(rng.choice(UNUSUAL))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)

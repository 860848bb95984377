"""What the code says of each field, in the text below it, for the schemas that are made of the types."""

import ast
import inspect
import itertools
from functools import cache
from types import ModuleType
from typing import Any

import msgspec

from microexchange import schemas
from order_entry_gateway import requests, rest

MODULES = (schemas, requests, rest)
"""Whose types any interface may speak of."""


@cache
def texts(*modules: ModuleType) -> dict[str, dict[str, str]]:
    """By type and field: what stands below it, in those modules and ours, with what the type inherits."""
    own: dict[str, dict[str, str]] = {}
    kinds: dict[str, type] = {}
    for module in (*MODULES, *modules):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                own[node.name] = dict(_below(node.body))
                kinds[node.name] = getattr(module, node.name)
    found = {}
    for name, kind in kinds.items():
        if issubclass(kind, msgspec.Struct):
            found[name] = {
                field: text for base in reversed(kind.__mro__) for field, text in own.get(base.__name__, {}).items()
            }
    return found


def _below(body: list[ast.stmt]) -> list[tuple[str, str]]:
    pairs = []
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                pairs.append((name, " ".join(said.split())))
    return pairs


def describe(schemas: dict[str, Any], *modules: ModuleType) -> None:
    """Adds the texts to the schemas."""
    known = texts(*modules)
    for name, schema in schemas.items():
        for field, of in schema.get("properties", {}).items():
            if text := known.get(name, {}).get(field):
                of.setdefault("description", text)

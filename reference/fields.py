"""The descriptions of fields for the schemas, read from the docstrings below the fields in the code."""

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
"""The modules whose types any interface may use."""


@cache
def texts(*modules: ModuleType) -> dict[str, dict[str, str]]:
    """Return the docstrings of fields by type and field, with those of inherited fields.

    The types are those of `modules` and of `MODULES`.
    """
    own: dict[str, dict[str, str]] = {}
    types: dict[str, type] = {}
    for module in (*MODULES, *modules):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                own[node.name] = dict(_docstrings_of_fields(node.body))
                types[node.name] = getattr(module, node.name)
    found = {}
    for name, type_ in types.items():
        if issubclass(type_, msgspec.Struct):
            found[name] = {
                field: text for base in reversed(type_.__mro__) for field, text in own.get(base.__name__, {}).items()
            }
    return found


def _docstrings_of_fields(body: list[ast.stmt]) -> list[tuple[str, str]]:
    pairs = []
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(docstring))):
                pairs.append((name, " ".join(docstring.split())))
    return pairs


def describe(schemas: dict[str, Any], *modules: ModuleType) -> None:
    """Add the descriptions to fields of schemas that have none."""
    descriptions = texts(*modules)
    for name, schema in schemas.items():
        for field, value in schema.get("properties", {}).items():
            if text := descriptions.get(name, {}).get(field):
                value.setdefault("description", text)

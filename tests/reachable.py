"""The objects that a state consists of, to find what grows with its history.

The count follows references, so no container escapes it.
"""

import gc
from collections import Counter
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
"""Code is not state. A class would lead to all modules."""


def objects_of(*roots: Any) -> Counter[str]:
    """Return the number of different objects that can be reached from `roots`, by the name of their type."""
    found: dict[int, Any] = {}
    waiting = list(roots)
    while waiting:
        item = waiting.pop()
        if id(item) in found or isinstance(item, _CODE):
            continue
        found[id(item)] = item
        waiting += gc.get_referents(item)
        # The garbage collector does not visit records, nor structs with gc=False.
        waiting += (getattr(item, name) for name in getattr(item, "__struct_fields__", ()))
    return Counter(type(item).__name__ for item in found.values())

"""Rows from records, and records from rows, by name: a column has the value of the field with its name.

Each layout is computed once, when a module is imported. So the names cost nothing for a row.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from microexchange.records import Record

R = TypeVar("R", bound=Record)


class RowLayout(NamedTuple):
    """The columns of a table, and the fields of a record type that fill them."""

    columns: tuple[str, ...]
    """All columns of the table: first those that are computed, then those that are fields of the record."""
    field_values: Callable[[Any], tuple[Any, ...]]
    """Return the values of the columns that are fields of a record, in the order of `columns`."""


def stored_fields(table: sa.Table, record_type: type[Record]) -> tuple[str, ...]:
    """Return the fields of a record that are columns of `table`, in the order of the record."""
    return tuple(name for name in record_type.__struct_fields__ if name in table.c)


def row_layout(table: sa.Table, record_type: type[Record], computed: Sequence[str] = ()) -> RowLayout:
    """Return the layout of the rows of `table`. The caller gives the values of the `computed` columns.

    Fields that are not columns are left out.

    Raises:
        LookupError: A column is neither computed nor a field, or a computed column is not in the table.
    """
    if unknown := set(computed) - set(table.c.keys()):
        raise LookupError(f"{table.name} has no column {', '.join(sorted(unknown))}")
    stored = stored_fields(table, record_type)
    if missing := set(table.c.keys()) - set(computed) - set(stored):
        raise LookupError(f"{record_type.__name__} has no field for {table.name}.{', '.join(sorted(missing))}")
    copied = tuple(name for name in stored if name not in computed)
    # For an order report, `astuple` takes 0.15 us, `attrgetter` 0.9 us, and COPY of the row 1.1 us.
    as_they_are = copied == record_type.__struct_fields__
    return RowLayout((*computed, *copied), msgspec.structs.astuple if as_they_are else attrgetter(*copied))


def record_reader(record_type: type[R], columns: Sequence[str], **absent: object) -> Callable[[Sequence[object]], R]:
    """Return a function that makes a record from the values of `columns`. `absent` has the fields that are not stored."""
    tag, fields = record_type.__name__, record_type.__struct_fields__

    def read(values: Sequence[object]) -> R:
        by_name = {**absent, **dict(zip(columns, values, strict=True))}
        return msgspec.convert([tag, *(by_name[name] for name in fields)], record_type)

    return read

"""The objects that the functions of the core pass to each other while they apply one command.

They are msgspec structs because these are the fastest to make, and each command makes one or two.
"""

import msgspec

from matching_engine.exchange import Exchange
from matching_engine.market import SecurityMarket
from microexchange.commands import Command
from microexchange.instructions import Instruction
from microexchange.refusals import Code
from microexchange.reports import Report

Reason = tuple[Code, str]
"""The reason for a refusal or for the end of an order: a code and a sentence."""


class Outcome(msgspec.Struct, gc=False):
    """The records that one command caused, each kind in order."""

    instructions: list[Instruction]
    """For `order_execution`."""
    reports: list[Report]
    """For `data_feed`."""


class Matching(msgspec.Struct, gc=False):
    """One command, the market of one security that it changes, and the lists for its output."""

    exchange: Exchange
    market: SecurityMarket
    command: Command
    instructions: list[Instruction]
    reports: list[Report]

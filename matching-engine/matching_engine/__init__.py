"""The matching engine: commands in, executions and reports out.

Read `book` first (price-time priority), then `engine` (the rules), then `state` (what a snapshot holds). These three are the
core: no I/O, no clock, no logging. `snapshots` and `service` are the shell around it.
"""

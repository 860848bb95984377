"""The matching engine: commands in, executions and reports out.

Read `book` first (price-time priority), then `market` (one security), `stops`, `auction` and `credit`, then `engine` (the
rules), then `state` (what a snapshot holds). They are the core: no I/O, no clock, no logging. `snapshots` and `service` are
the shell.
"""

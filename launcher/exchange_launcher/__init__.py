"""The `microexchange` command: starts a whole exchange, and watches over it."""

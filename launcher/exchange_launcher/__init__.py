"""The `microexchange` command. It starts, watches and administers an exchange."""

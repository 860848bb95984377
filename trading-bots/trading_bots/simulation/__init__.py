"""A market in one process, on its own clock."""

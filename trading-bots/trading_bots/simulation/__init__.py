"""A market in one process, on a simulated clock."""

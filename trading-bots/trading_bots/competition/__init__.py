"""Competitions: seasons in TOML files, their rounds, and the results."""

"""Competitions: a season in a file, its rounds, and what came of them."""

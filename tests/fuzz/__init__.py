"""Fuzzing of every parser: docs/testing.md describes it."""

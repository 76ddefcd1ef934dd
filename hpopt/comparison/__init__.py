"""Comparing searchers at equal cost, on the same tasks and seeds."""

"""Judging a comparison: pure functions of what its studies came to, and the page of it."""

"""Trials that are processes of a user's own training script."""

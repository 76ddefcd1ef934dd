"""Policies that learned on nano tasks: what they see and say, their files, how they are read."""

"""A study from its settings to its result: who makes it happen."""

"""A trial as an episode of a Gymnasium environment: actions in, observations and rewards out."""

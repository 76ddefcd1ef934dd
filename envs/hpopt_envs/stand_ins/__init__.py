"""Training runs that train nothing: a simulation, and tables of finished runs."""

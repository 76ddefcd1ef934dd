"""Settings of a study: one definition for the command line, TOML files and Python."""

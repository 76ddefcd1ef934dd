"""Reports as one HTML page each, with interactive figures that need no network."""

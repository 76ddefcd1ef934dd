"""What happened in a study, as plain data: nothing here runs anything."""

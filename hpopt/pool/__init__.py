"""Where trials run, and how what runs is counted and recorded."""

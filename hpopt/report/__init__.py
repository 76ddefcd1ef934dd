"""What people read of a study's history: sentences, and a page that works offline."""

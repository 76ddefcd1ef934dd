"""Rows of data: from the user's files and data sets, or from what every Python has."""

"""Files: their names, checks, locks, whole writing, and whether they have changed."""

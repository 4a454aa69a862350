"""Runs over many cases: who makes which, in what process, and what is there already."""

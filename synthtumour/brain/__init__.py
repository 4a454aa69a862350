"""Brains: their masks, and what can be measured in them."""

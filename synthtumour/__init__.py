"""SynthTumour: segment brain tumours without a single hand-drawn label."""

__version__ = "0.2.0"

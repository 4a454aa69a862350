"""SynthTumour: segment brain tumours without a single hand-drawn label."""

__version__ = "0.1.0"

"""Scans as arrays with a place in the world: reading, atomic writing, grids that must agree."""

from synthtumour.errors import InputError
from synthtumour.volume.grid import Grid
from synthtumour.volume.reading import read_volume
from synthtumour.volume.volume import Volume
from synthtumour.volume.writing import write_volumes

__all__ = ["Grid", "InputError", "Volume", "read_volume", "write_volumes"]

"""Arrays in, PNG out: a picture a case, and a contact sheet. InputError when imported without Pillow."""

from importlib.util import find_spec

from synthtumour.errors import InputError

if find_spec("PIL") is None:
    raise InputError("--preview draws with Pillow, which is not installed: pip install pillow")

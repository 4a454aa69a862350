"""Arrays in, PNG out: a picture a case, and a contact sheet. InputError when imported without Pillow."""

from synthtumour.errors import InputError

try:
    import PIL  # noqa: F401
except ModuleNotFoundError as missing:
    raise InputError("--preview draws with Pillow, which is not installed: pip install pillow") from missing

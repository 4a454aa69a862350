"""Stage 2: real tumours, labelled by the junior, in tumour-free scans."""

from synthtumour.stage2.mix import Mixed, mix
from synthtumour.stage2.placement import DoesNotFit, Placement, draw, place
from synthtumour.stage2.pseudo_labels import Donor, Head, Rejected, checked_donor
from synthtumour.stage2.refinement import Part, refined

__all__ = [
    "DoesNotFit",
    "Donor",
    "Head",
    "Mixed",
    "Part",
    "Placement",
    "Rejected",
    "checked_donor",
    "draw",
    "mix",
    "place",
    "refined",
]

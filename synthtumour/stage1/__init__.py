"""Stage 1: synthetic tumours in tumour-free scans."""

from synthtumour.stage1.contrasts import in_other_contrast, with_same_tumours
from synthtumour.stage1.record import resynthesise
from synthtumour.stage1.synthesis import Synthesis, synthesise, synthesise_patch, untouched

__all__ = [
    "Synthesis",
    "in_other_contrast",
    "resynthesise",
    "synthesise",
    "synthesise_patch",
    "untouched",
    "with_same_tumours",
]

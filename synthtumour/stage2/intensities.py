"""A tumour's brightness in the recipient: as it stood out from its own brain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage

from synthtumour.brain.measures import black_level, contrast
from synthtumour.stage2.placement import DoesNotFit
from synthtumour.stage2.pseudo_labels import Donor, Head
from synthtumour.volume.grid import bounding_box, grown

_TISSUE_MARGIN_MM = 5.0  # what lies this near a tumour does not count as normal tissue
_GAIN_LIMITS = (1 / 3, 3.0)  # beyond these, the place is no brain tissue (a ventricle, say)
_CONTRAST_TOLERANCE = 0.1


def matched(
    donor: Donor, donor_array: np.ndarray, carved: np.ndarray, recipient: Head, recipient_array: np.ndarray
) -> dict[str, Any]:
    """Black level and median of normal tissue of both brains, the gain between them, the contrast at home.

    Two landmarks that neither a bright tumour nor the background sways: black and the median of the brain
    without the tumour and what lies near it.
    """
    grid = donor.head.grid
    box = grown(bounding_box(donor.suspect), _TISSUE_MARGIN_MM, grid)
    near = np.zeros_like(donor.suspect)
    near[box] = (
        ndimage.distance_transform_edt(~donor.suspect[box], sampling=grid.spacing_mm) <= _TISSUE_MARGIN_MM
    )
    tissue = donor.head.brain & ~near
    if not tissue.any():
        tissue = donor.head.brain & ~donor.suspect
    black_donor, black_recipient = (
        black_level(donor_array, donor.head.brain),
        black_level(recipient_array, recipient.brain),
    )
    donor_median = float(np.median(donor_array[tissue]))
    recipient_median = float(np.median(recipient_array[recipient.brain]))
    home = contrast(
        donor_array,
        donor.label & carved,
        donor.label | carved,
        donor.head.brain & ~donor.suspect,
        grid,
        black_donor,
    )
    if home is None or donor_median <= black_donor or recipient_median <= black_recipient:
        raise DoesNotFit("no normal brain tissue to match the intensities with")
    return {
        "black_donor": black_donor,
        "black_recipient": black_recipient,
        "median_donor": donor_median,
        "median_recipient": recipient_median,
        "gain_tissue": (recipient_median - black_recipient) / (donor_median - black_donor),
        "contrast_donor": home,
    }


def local_gain(
    levels: np.ndarray,
    tumour: np.ndarray,
    weight: np.ndarray,
    label: np.ndarray,
    rim: np.ndarray,
    wanted_contrast: float,
) -> float:
    """The factor g on `tumour` with which mean(label) / mean(rim) of the blend becomes `wanted_contrast`.

    The blend (1 - weight) levels + g weight tumour is linear in g, and so are both means.
    """
    below, above = (1 - weight) * levels, weight * tumour
    fixed = wanted_contrast * below[rim].mean() - below[label].mean()
    per_gain = above[label].mean() - wanted_contrast * above[rim].mean()
    exact = float(fixed / per_gain) if per_gain > 0 else math.inf
    gain = min(max(exact, _GAIN_LIMITS[0]), _GAIN_LIMITS[1])
    reached = (below[label].mean() + gain * above[label].mean()) / (
        below[rim].mean() + gain * above[rim].mean()
    )
    # A very dark tumour is lightened by its buffer layer whatever the factor: that much is let pass.
    if not abs(reached - wanted_contrast) <= _CONTRAST_TOLERANCE:
        raise DoesNotFit(f"the tumour's contrast to the tissue there would be {reached:.2f}")
    return gain

"""What a manifest row of Stage 1 shows."""

from __future__ import annotations

from synthtumour.stage1.cases import flattened


def test_columns_of_whatever_was_drawn() -> None:
    drawn = {
        "centre_ras_mm": (1, 2, 3),
        "angles_deg": [4, 5, 6],
        "lobes_mm": [[7, 8], [9, 10]],
        "core": None,
        "intensity": {"factor": 2.0, "speeds": (0.1, 0.2)},
    }
    assert flattened(drawn, "t_") == {
        **{"t_centre_r_mm": 1, "t_centre_a_mm": 2, "t_centre_s_mm": 3},
        **{"t_angles_r_deg": 4, "t_angles_a_deg": 5, "t_angles_s_deg": 6},
        **{"t_lobes_1_1_mm": 7, "t_lobes_1_2_mm": 8, "t_lobes_2_1_mm": 9, "t_lobes_2_2_mm": 10},
        **{"t_intensity_factor": 2.0, "t_intensity_speeds_1": 0.1, "t_intensity_speeds_2": 0.2},
    }

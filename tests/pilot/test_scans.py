"""Scans brought onto one canvas; of tumour-free subjects some are kept out of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.pilot.scans import TORCH_MISSING, check_torch, read_scans
from synthtumour.stage2.heads import HeadFiles, find_donors, find_recipients
from tests.conftest import head_image, with_tumour, write, write_head

SMALL = (96.0, 114.0, 90.0)


def tumour_free(folder: Path, count: int) -> list[HeadFiles]:
    for seed in range(count):
        write_head(
            folder / f"h{seed}", "RAS" if seed % 2 else "LPS", size_mm=SMALL, spacing=(6.0,) * 3, seed=seed
        )
    return find_recipients(folder, 1, None, None)


def labelled(folder: Path, *names: str) -> list[HeadFiles]:
    for seed, name in enumerate(names):
        scan, truth = with_tumour(head_image(SMALL, (3.0, 3.0, 3.0), seed=30 + seed)[0])
        write(scan, folder / f"imagesTr/{name}_0000.nii.gz")
        write(truth, folder / f"labelsTr/{name}.nii.gz")
    return find_donors(folder / "imagesTr", folder / "labelsTr", 1, None, None)[0]


def silent(text: str) -> None:
    raise AssertionError(text)


@pytest.mark.parametrize(("count", "out"), [(3, 0), (4, 2), (9, 2), (15, 3)])
def test_a_fifth_and_at_least_two_subjects_are_kept_out(count: int, out: int, tmp_path: Path) -> None:
    found = tumour_free(tmp_path, min(count, 4))
    head = found[0]
    many = [
        *found,
        *(HeadFiles(f"x{n}", f"x{n}", head.channels, head.mask) for n in range(count - len(found))),
    ]
    scans = read_scans(many, 6.0, 0, silent)
    assert len(scans.kept_out) == out and len(scans.healthy) == count - out and scans.labelled == []
    assert len(scans.said["subjects_kept_out"]) == out  # type: ignore[arg-type]
    assert scans.said["tumour_free_scans"] == count and scans.failed == 0


def test_the_seed_says_which_and_the_order_of_files_does_not(tmp_path: Path) -> None:
    found = tumour_free(tmp_path, 4)
    kept = [read_scans(files, 6.0, seed, silent).said for files, seed in ((found, 0), (found[::-1], 0))]
    assert kept[0] == kept[1]
    others = {str(read_scans(found, 6.0, seed, silent).said["subjects_kept_out"]) for seed in range(1, 5)}
    assert len(others) > 1


def test_all_heads_lie_on_one_canvas_whatever_their_size(tmp_path: Path) -> None:
    write_head(tmp_path / "H/large", size_mm=(160.0, 190.0, 150.0), spacing=(3.0, 4.0, 5.0))
    found = [*tumour_free(tmp_path / "H", 1), *labelled(tmp_path / "D", "a")]
    scans = read_scans(found, 3.0, 0, silent)
    heads = [*scans.healthy, *scans.labelled]
    assert len(heads) == 3 and {head.image.shape for head in heads} == {scans.canvas.shape}
    assert scans.canvas.shape == (48, 56, 48) and scans.canvas.spacing_mm == 3.0
    assert scans.labelled[0].label.sum() * 0.027 == pytest.approx(4 / 3 * 3.14 * 14**3 * 0.96 / 1000, rel=0.1)
    assert not any(head.label.any() for head in scans.healthy)


def test_a_subject_that_is_kept_out_is_so_with_its_labels_too(tmp_path: Path) -> None:
    found = [*tumour_free(tmp_path / "H", 4), *labelled(tmp_path / "D", "h0", "h1", "h2", "h3", "other")]
    scans = read_scans(found, 6.0, 0, silent)
    assert len(scans.kept_out) == 2 and len(scans.labelled) == 3
    assert scans.said["labelled_scans"] == 3


def test_what_cannot_be_used_is_told_and_left_out(tmp_path: Path) -> None:
    found = [*tumour_free(tmp_path / "H", 2), *labelled(tmp_path / "D", "a", "b")]
    found[0].channels[0].write_bytes(b"no image")
    moved, _ = head_image(SMALL, (3.0, 3.0, 3.5))
    write(moved > 300, tmp_path / "D/labelsTr/a.nii.gz")
    told: list[str] = []
    scans = read_scans(found, 6.0, 0, told.append)
    assert scans.failed == 2 and len(scans.healthy) == len(scans.labelled) == 1
    assert len(told) == 2 and told[0].startswith("left out: ") and "on another grid than the scan" in told[1]
    with pytest.raises(InputError, match="none of the scans can be used"):
        read_scans(found[:1], 6.0, 0, told.append)


def test_what_is_missing_is_said_in_one_line() -> None:
    with pytest.raises(InputError) as raised:
        check_torch("no_such_package")
    assert str(raised.value) == TORCH_MISSING and "\n" not in TORCH_MISSING

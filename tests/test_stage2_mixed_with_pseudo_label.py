"""A run shared out: parts, journals, finishing, and what cannot go together. The Slurm script of the docs."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

import prompt_multi_tumor
import stage2_mixed_with_pseudo_label as script
from tests.conftest import (
    ROOT,
    MakeHead,
    array,
    head_image,
    images_in,
    mixed_files,
    rows_of,
    run_stage2,
    stage2_command,
    write,
    write_donor,
)

SCRIPT = ROOT / "stage2_mixed_with_pseudo_label.py"


def test_stage2_in_shards(make_head: MakeHead, tmp_path: Path) -> None:
    for n in range(4):
        make_head(f"healthy/s{n}", seed=n, spacing=(3.0, 3.0, 3.0))
    donors = tmp_path / "Dataset001_D"
    arguments = ["--input", str(tmp_path / "healthy"), "--output", str(donors), "--val-fraction", "0"]
    arguments += ["--without-tumour", "0", "--skull-strip", "--workers", "1"]
    assert prompt_multi_tumor.main(arguments) == 0
    made = {}
    for how in ("whole", "shards"):
        place = tmp_path / how / "Dataset001_D"
        for folder in ("imagesTr", "labelsTr"):
            shutil.copytree(donors / folder, place / folder)
        line = [sys.executable, str(SCRIPT), "-num", "5"]
        line += ["--imagesTr_path", str(place / "imagesTr"), "--labelsTr_path", str(place / "labelsTr")]
        line += ["--healthyimgTr", str(tmp_path / "healthy"), "--workers", "1"]
        line += ["--combine", str(tmp_path / how / "Dataset102_Senior")]
        parts: list[list[str]] = [[]]
        if how == "shards":
            parts = [["--shard", "1/2"], ["--shard", "2/2"]]
        started = [subprocess.Popen([*line, *part], stdout=subprocess.DEVNULL) for part in parts]  # at once
        assert [process.wait(timeout=600) for process in started] == [0] * len(parts)
        if how == "shards":
            assert not (tmp_path / how / "Dataset102_Senior").exists()
            looked_at = (place / "mask_check/gate/journal.jsonl").read_text()
            assert looked_at.count('"status": "made"') == 8  # every head once, by one of the two
            assert subprocess.run([*line, "--finalise"]).returncode == 0
        made[how] = images_in(tmp_path / how)
        made[how]["ids"] = (place / "mask_check/CarveMixID.csv").read_bytes()
        made[how]["split"] = (tmp_path / how / "Dataset102_Senior/splits_final.json").read_bytes()
    assert len(made["whole"]) == 4 * 2 + 5 * 2 + (4 + 5) * 2 + 2 and made["shards"] == made["whole"]


def test_the_published_command(folders: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *stage2_command(folders, "-num", "9", "--preview")],
        cwd=folders,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "9 made" in done.stdout and "3 used, 0 rejected" in done.stdout
    following = done.stdout.split("next:\n")[1]  # type it, and the senior's dataset is there
    typed = [sys.executable, *shlex.split(following)[1:]]
    table = rows_of(folders / "CHECK/CarveMixID.csv")
    assert list(table[0])[:3] == ["id", "id1", "id2"]
    names = [f"D_CarveMix_{n}" for n in range(9)]
    assert [row["id"] for row in table] == names
    assert {p.name for p in (folders / "D/imagesTrMix").iterdir()} == {
        f"{name}_0000.nii.gz" for name in names
    }
    assert {p.name for p in (folders / "D/labelsTrMix").iterdir()} == {f"{name}.nii.gz" for name in names}
    assert len({(row["id1"], row["id2"]) for row in table[:6]}) == 6
    assert set(Counter(row["id1"] for row in table).values()) == {3}
    assert sorted(Counter(row["id2"] for row in table).values()) == [4, 5]
    for row in table:
        scan = folders / "H" / row["id2"]
        before, brain = array(scan / "flair.nii.gz"), array(scan / "flair_brainmask.nii.gz") > 0
        image = sitk.ReadImage(str(folders / f"D/imagesTrMix/{row['id']}_0000.nii.gz"))
        assert image.GetPixelID() == sitk.sitkInt16
        original = sitk.ReadImage(str(scan / "flair.nii.gz"))
        for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(image, of)() == getattr(original, of)()
        after, label = sitk.GetArrayFromImage(image), array(folders / f"D/labelsTrMix/{row['id']}.nii.gz")
        assert label.dtype == np.uint8 and set(np.unique(label)) == {0, 1}
        assert not (label > 0)[~brain].any() and np.array_equal(after[~brain], before[~brain])
        assert after[label > 0].mean() > 1.2 * before[label > 0].mean()
        voxel_ml = float(np.prod(image.GetSpacing())) / 1000
        assert float(row["volume_ml"]) == pytest.approx(label.sum() * voxel_ml, rel=1e-3)
        assert float(row["contrast_mixed"]) == pytest.approx(float(row["contrast_donor"]), rel=0.01)
        assert json.loads(row["record"])["placement"]["align"] == "brain"
        assert sitk.ReadImage(str(folders / f"CHECK/pictures/{row['id']}.png")).GetSize()[0] > 200
    manifest = rows_of(folders / "CHECK/manifest.csv")
    assert {row["status"] for row in manifest} == {"made"} and len(manifest) == 9
    assert json.loads((folders / "CHECK/run.json").read_text())["options"]["generate_number"] == 9
    assert rows_of(folders / "CHECK/rejected.csv") == []
    assert subprocess.run([*typed, "--workers", "2"], cwd=folders, capture_output=True).returncode == 0
    assert (folders / "nnUNet_raw/Dataset102_Senior/splits_final.json").is_file()


def test_same_bytes_for_any_workers_and_any_order_of_files(folders: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for folder in ("D/labelsTr", "D/imagesTr", "H"):
        for source in sorted((folders / folder).iterdir(), reverse=True):
            target = again / folder / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    options = ["-num", "7", "--carve", "distance", "--seed", "3"]
    assert run_stage2(folders, *options) == 0
    assert script.main(stage2_command(again, *options, "--workers", "2")) == 0
    assert mixed_files(folders / "D") == mixed_files(again / "D") and len(mixed_files(folders / "D")) == 14
    tables = [(place / "CHECK/CarveMixID.csv").read_text().splitlines() for place in (folders, again)]
    assert [line.rpartition(",")[0] for line in tables[0]] == [line.rpartition(",")[0] for line in tables[1]]


def test_healthy_scans_in_nnunet_form_and_channels_mixed_alike(folders: Path) -> None:
    shutil.rmtree(folders / "D")
    for n in range(2):
        write_donor(folders / "D", f"p{n}", "LPS", seed=n, channels=2)
    plain, _ = head_image(seed=20, spacing=(2.0, 2.0, 2.5))
    write(plain, folders / "N/case_0000.nii.gz", "RAS")
    write(plain * 3, folders / "N/case_0001.nii.gz", "RAS")
    options = stage2_command(folders, "-num", "3", "-mnum", "2", "--workers", "1", "--prefix", "Two")
    options[options.index("--healthyimgTr") + 1] = str(folders / "N")
    assert script.main(options) == 0
    before = [array(folders / f"N/case_000{c}.nii.gz") for c in (0, 1)]
    for n in range(3):
        after = [array(folders / f"D/imagesTrMix/Two_CarveMix_{n}_000{c}.nii.gz") for c in (0, 1)]
        changed = [a != b for a, b in zip(after, before, strict=True)]
        # Where the buffer layer ends, a change may be too small for one channel's whole numbers.
        label = array(folders / f"D/labelsTrMix/Two_CarveMix_{n}.nii.gz") > 0
        assert label.sum() > 300 and all(c[label].mean() > 0.97 for c in changed)
        reached = ndimage.distance_transform_edt(~label, sampling=(2.5, 2.0, 2.0)) <= 4 + 2.5
        assert not any(c[~reached].any() for c in changed)
    row = rows_of(folders / "CHECK/CarveMixID.csv")[0]
    for suffix in ("", "_0001"):
        assert float(row[f"contrast_mixed{suffix}"]) == pytest.approx(
            float(row[f"contrast_donor{suffix}"]), 0.01
        )
    second = folders / "D/imagesTr/p1_0001.nii.gz"
    second.unlink()
    options[options.index("Two")] = "Other"
    options[options.index("--mask_check_path") + 1] = str(folders / "CHECK2")
    assert script.main(options) == 1
    assert [(row["case"], row["rejected"]) for row in rows_of(folders / "CHECK2/rejected.csv")] == [
        ("p1", "unusable file")
    ]
    write(head_image(seed=1, spacing=(3.0, 3.0, 3.0))[0], second, "LPS")
    for number, strip in enumerate(([], ["--skull-strip"]), start=3):
        check = folders / f"CHECK{number}"
        options[options.index("--mask_check_path") + 1] = str(check)
        options[options.index("--prefix") + 1] = f"Other{number}"
        assert script.main([*options, *strip]) == 1
        (row,) = rows_of(check / "rejected.csv")
        assert row["rejected"] == "unusable file" and "p1_0001.nii.gz: on another grid" in row["reason"]


def mix_near(place: Path, prefix: str, *options: str) -> list[np.ndarray]:
    """Two mixed scans of the heads in `near`, never mirrored unless the options say so."""
    line = stage2_command(place, "-num", "2", "--workers", "1", "--prefix", prefix)
    line += ["--healthy-masks", str(place / "masks"), "--mirror-probability", "0", *options]
    line[line.index("--healthyimgTr") + 1] = str(place / "near")
    line[line.index("--mask_check_path") + 1] = str(place / prefix)
    assert script.main(line) == 0
    return [array(place / f"D/imagesTrMix/{prefix}_CarveMix_{n}_0000.nii.gz") for n in range(2)]


@pytest.fixture(scope="module")
def plain(made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """Where donors and two heads of one size are, and what is made of them without further options."""
    place = tmp_path_factory.mktemp("options")
    shutil.copytree(made_once / "D", place / "D")
    size = (130.0, 140.0, 112.0)
    write(head_image(seed=30, size_mm=size)[0], place / "near/case_0000.nii.gz")
    write(head_image(seed=31, size_mm=size, skull=True)[0], place / "near/skull_0000.nii.gz")
    for name in ("case", "skull"):
        write(head_image(seed=31, size_mm=size)[1], place / f"masks/{name}.nii.gz")
    return place, mix_near(place, "plain")


@pytest.mark.parametrize(
    "options",
    [
        ["--align", "affine"],
        ["--align", "none"],
        ["--scale-per-axis"],
        ["--mirror_probability", "1"],
        ["--jitter", "4"],
        ["--carve", "distance"],
        ["--blend", "hard"],
        ["--buffer-sigma", "2.5"],
        ["--seed", "1"],
        ["--skull-strip"],
    ],
)
def test_every_option_changes_the_images(options: list[str], plain: tuple[Path, list[np.ndarray]]) -> None:
    place, before = plain
    prefix = "-".join(options).strip("-").replace("_", "-").replace(".", "-")
    made = mix_near(place, prefix, *options)
    assert any(not np.array_equal(a, b) for a, b in zip(made, before, strict=True))


def test_a_finished_run_is_left_alone_and_an_incomplete_one_completed(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_stage2(folders, "-num", "5") == 0
    made = mixed_files(folders / "D")
    times = {p: p.stat().st_mtime_ns for p in (folders / "D").glob("*Mix/*")}
    assert run_stage2(folders, "-num", "5") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in (folders / "D").glob("*Mix/*")} == times
    (folders / "D/imagesTrMix/D_CarveMix_2_0000.nii.gz").unlink()
    (folders / "D/labelsTrMix/D_CarveMix_4.nii.gz").write_bytes(b"half")
    assert run_stage2(folders, "-num", "5") == 0
    assert "2 made, 3 kept" in capsys.readouterr().out
    assert mixed_files(folders / "D") == made
    assert run_stage2(folders, "-num", "5", "--blend", "hard") == 2
    assert "blend" in capsys.readouterr().err
    assert mixed_files(folders / "D") == made
    assert run_stage2(folders, "-num", "5", "--blend", "hard", "--overwrite") == 0
    assert mixed_files(folders / "D") != made


def test_files_of_others_are_never_replaced(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = folders / "D/imagesTrMix/D_CarveMix_0_0000.nii.gz"
    own.parent.mkdir()
    own.write_text("mine")
    assert run_stage2(folders, "-num", "2", "--overwrite") == 2
    assert str(own) in capsys.readouterr().err and own.read_text() == "mine"
    own.unlink()
    table = folders / "ids.csv"
    table.write_text("mine")
    assert run_stage2(folders, "-num", "2", "--mixid_csv_path", str(table)) == 2
    assert table.read_text() == "mine"
    table.unlink()
    assert run_stage2(folders, "-num", "2", "--mixid_csv_path", str(table)) == 0
    assert [row["id"] for row in rows_of(table)] == ["D_CarveMix_0", "D_CarveMix_1"]


def test_ctrl_c_leaves_whole_files_and_the_same_command_carries_on(folders: Path) -> None:
    options = stage2_command(folders, "-num", "24", "--workers", "1")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while not list((folders / "D").glob("labelsTrMix/[!.]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 130 and "carries on" in out
    there = mixed_files(folders / "D")
    assert 0 < len(there) < 48 and not [name for name in there if "/." in f"/{name}"]
    assert run_stage2(folders, "-num", "24") == 0
    finished = mixed_files(folders / "D")
    assert len(finished) == 48 and there.items() <= finished.items()


def test_a_case_that_fits_nowhere_is_reported_and_the_others_made(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_donor(folders / "D", "edge", "LPS", seed=5, offset_ras_mm=(41.0, 0.0, 0.0), radius_mm=14.0)
    assert (
        run_stage2(
            folders, "-num", "8", "--jitter", "60", "--min-remaining", "0.95", "--max-outside-fraction", "1"
        )
        == 1
    )
    said = capsys.readouterr().out
    assert "FAILED" in said and "no pair fits after" in said
    manifest = rows_of(folders / "CHECK/manifest.csv")
    states = Counter(row["status"] for row in manifest)
    assert states["failed"] and states["made"] and sum(states.values()) == 8
    assert len(rows_of(folders / "CHECK/CarveMixID.csv")) == states["made"]


def test_help_is_quick_and_no_argument_is_an_error() -> None:
    code = (
        "import sys, runpy; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit: print([m for m in ('numpy', 'scipy', 'SimpleITK', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith("[]"), done.stderr
    assert "--mask_check_path" in done.stdout and "--mixid_csv_path" in done.stdout
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2 and "--imagesTr_path" in done.stderr


def test_a_senior_without_mixed_cases(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refined pseudo-labels alone, as a control of what mixing is worth."""
    assert script.main(stage2_command(folders, "-num", "0")) == 2
    assert "--generate_number 0: needs 1 or more, or 0 with --combine" in capsys.readouterr().err
    dataset = folders / "Dataset102_Senior"
    words = stage2_command(folders, "-num", "0", "--combine", str(dataset), "--add-untouched", "1")
    assert script.main([*words, "--preview"]) == 0
    assert "nothing to do" not in capsys.readouterr().out
    assert not [file for file in images_in(folders) if "CarveMix" in file]
    kinds = Counter(row["kind"] for row in rows_of(dataset / "manifest.csv"))
    assert set(kinds) == {"pseudo-labelled", "tumour-free"} and kinds["pseudo-labelled"] == 3
    split = json.loads((dataset / "splits_final.json").read_text())[0]
    assert len(split["train"]) + len(split["val"]) == kinds.total()
    assert split["train"] and split["val"]

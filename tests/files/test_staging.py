"""Files are written whole or not at all, and nothing of anybody's is in the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.files.checks import check_output
from synthtumour.files.staging import give_name, staged_outputs, write_bytes, write_json
from tests.conftest import MakeHead, resect


def test_files_in_a_folder_named_like_ours_survive(make_head: MakeHead, tmp_path: Path) -> None:
    from synthtumour.files.staging import staging_folder

    scan = make_head()
    unlucky = staging_folder(tmp_path / "i.nii.gz") / "i.nii.gz"
    unlucky.parent.mkdir()
    unlucky.write_bytes(scan.read_bytes())
    assert resect(unlucky, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert resect(scan, tmp_path / "i.nii.gz", tmp_path / "l.nii.gz") == 2
    assert unlucky.read_bytes() == scan.read_bytes()
    assert not (tmp_path / "l.nii.gz").exists()


@pytest.fixture
def umask() -> Iterator[None]:
    earlier = os.umask(0o027)
    yield
    os.umask(earlier)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(*paths: Path) -> None:
    with staged_outputs(paths) as partial:
        for path in paths:
            partial[path].write_text("new")


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("count", [1, 2])
def test_modes(tmp_path: Path, count: int) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for bits in (0o600, 0o640, 0o664, 0o444):
        old.write_text("old")
        old.chmod(bits)
        write(*[old, new][:count])
        assert old.read_text() == "new" and mode(old) == bits
        old.unlink()
    write(tmp_path / "fresh", *[new][: count - 1])
    assert mode(tmp_path / "fresh") == 0o640


def test_images_tables_and_records_keep_their_mode(make_head: MakeHead, tmp_path: Path) -> None:
    scan = make_head()
    outputs = [tmp_path / "i.nii.gz", tmp_path / "l.nii", tmp_path / "r.json"]
    for path in outputs:
        path.write_text("earlier")
        path.chmod(0o640)
    assert resect(scan, *outputs[:2], "--seed", 1, "--record", outputs[2]) == 0
    assert [mode(path) for path in outputs] == [0o640] * 3
    outputs[2].chmod(0o600)
    write_json({"other": 1}, outputs[2])
    assert mode(outputs[2]) == 0o600


def test_a_link_stays_one(make_head: MakeHead, tmp_path: Path) -> None:
    """And its target may be of another folder, name and extension."""
    scan, disk = make_head(), tmp_path / "disk"
    disk.mkdir()
    (disk / "image.data").write_text("earlier")
    (disk / "image.data").chmod(0o600)
    image, label, record = (tmp_path / name for name in ("i.nii.gz", "l.nii.gz", "r.json"))
    (tmp_path / "step").symlink_to("disk/image.data")
    image.symlink_to("step")  # a link to a link
    label.symlink_to(disk / "label.nii.gz")  # that is not there yet
    record.symlink_to("disk/record")
    assert resect(scan, image, label, "--seed", 1, "--record", record) == 0
    assert image.is_symlink() and label.is_symlink() and record.is_symlink()
    plain = [tmp_path / "plain_i.nii.gz", tmp_path / "plain_l.nii.gz"]
    assert resect(scan, *plain, "--seed", 1) == 0
    assert (disk / "image.data").read_bytes() == plain[0].read_bytes() and mode(disk / "image.data") == 0o600
    assert (disk / "label.nii.gz").read_bytes() == plain[1].read_bytes()
    assert sorted(path.name for path in disk.iterdir()) == ["image.data", "label.nii.gz", "record"]
    write_bytes(b"table", record)
    assert record.is_symlink() and (disk / "record").read_bytes() == b"table"


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "i.nii.gz"
    for target, reason in (("nowhere/i.nii.gz", "nowhere, which does not exist"), (path.name, "in a circle")):
        path.symlink_to(target)
        for tried in (check_output, write):
            with pytest.raises(InputError, match=reason):
                tried(path)
        assert path.is_symlink() and list(tmp_path.iterdir()) == [path]
        path.unlink()


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        for tried in (check_output, write):
            with pytest.raises(InputError, match="no file but"):
                tried(path)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and (tmp_path / "link").is_symlink()


def test_an_error_leaves_files_behind_links_alone(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/old").write_text("old")
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to("disk/old")
    with pytest.raises(InputError), staged_outputs([link, other]) as partial:
        partial[link].write_text("new")
        raise OSError("disk full")
    assert link.read_text() == "old" and not other.exists()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["old"]


def test_a_whole_file_takes_a_name_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/old").write_text("old")
    (tmp_path / "disk/old").chmod(0o640)
    for name, target in (("link", "disk/old"), ("file", "")):
        path, temporary = tmp_path / name, tmp_path / "temporary"
        temporary.write_text("new")
        if target:
            path.symlink_to(target)
        give_name(temporary, path)
        assert path.read_text() == "new" and path.is_symlink() == bool(target) and not temporary.exists()
    assert mode(tmp_path / "disk/old") == 0o640

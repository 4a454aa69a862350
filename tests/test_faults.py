"""Faults while the scripts run: full disks, vanishing files, kills, two runs at once, clocks, links.

After each: no half file under a final name and nothing of ours beside them, a manifest that is true, and the
same command finishing to the bytes of a run that nothing disturbed. Real processes on small heads.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import SimpleITK as sitk

from synthtumour.volume.reading import read_volume
from tests.conftest import ROOT, head_image, write, write_donor

NOT_COMPARED = {"journal.jsonl", "report.html"}  # they tell of times


@dataclass(frozen=True)
class Job:
    """A command over a folder and the folders that it writes in, relative to where it runs."""

    script: str
    options: tuple[str, ...]
    made_in: tuple[str, ...]

    def start(
        self, place: Path, *more: str, limit: int | None = None, **how: object
    ) -> subprocess.Popen[str]:
        """The script as a process group of its own, in `place`; it can write no file longer than `limit`."""

        def hold_down() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [sys.executable, str(ROOT / self.script), *self.options, *more],
            cwd=place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hold_down if limit is not None else None,
            **how,  # type: ignore[call-overload]
        )

    def run(self, place: Path, *more: str, **how: object) -> subprocess.CompletedProcess[str]:
        process = self.start(place, *more, **how)  # type: ignore[arg-type]
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def made(self, place: Path) -> dict[str, str]:
        """What is in the folders: a digest of every file but those that tell of times."""
        found = {}
        for folder in self.made_in:
            for path in sorted((place / folder).rglob("*")):
                if path.is_file() and path.name not in NOT_COMPARED:
                    content = path.read_bytes()
                    if path.name == "run.json":
                        content = content.replace(str(place).encode(), b"")
                    if path.name == "manifest.csv":
                        rows = list(csv.DictReader(content.decode().splitlines()))
                        content = json.dumps([{**row, "seconds": ""} for row in rows]).encode()
                    found[path.relative_to(place).as_posix()] = hashlib.sha256(content).hexdigest()
        return found


STAGE1 = Job(
    "prompt_multi_tumor.py",
    ("-i", "H", "-o", "out/Dataset101_A", "--preset", "paper", "--variants", "3", "--workers", "2"),
    ("out/Dataset101_A",),
)


STAGE2 = Job(
    "stage2_mixed_with_pseudo_label.py",
    tuple(
        "--mask_check_path CHECK --imagesTr_path D/imagesTr --labelsTr_path D/labelsTr --healthyimgTr H"
        " -num 6 --workers 2 --preview --carve distance --val-fraction 0.4"
        " --combine out/Dataset102_B".split()
    ),
    ("CHECK", "D/imagesTrMix", "D/labelsTrMix", "out/Dataset102_B"),
)


MORE = {STAGE1.script: ("--variants", "8"), STAGE2.script: ("-num", "18")}


JOBS = pytest.mark.parametrize("job", [STAGE1, STAGE2], ids=["stage1", "stage2"])


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tumour-free heads in H, donors with their pseudo-labels in D."""
    place = tmp_path_factory.mktemp("heads")
    for n in range(3):
        image, brain = head_image(seed=n, spacing=(3.0, 3.0, 3.0))
        write(image, place / f"H/h{n}/flair.nii.gz", "RAS")
        write(brain, place / f"H/h{n}/flair_brainmask.nii.gz", "RAS")
        write_donor(place / "D", f"patient{n}", seed=10 + n)
    return place


@pytest.fixture(scope="module")
def undisturbed(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Job], dict[str, str]]:
    """What a job makes when nothing happens to it, in the place where all runs of this file are made."""
    known: dict[Job, dict[str, str]] = {}

    def made_by(job: Job) -> dict[str, str]:
        if job not in known:
            place = tmp_path_factory.mktemp("undisturbed")
            copy(heads, place)
            done = job.run(place)
            assert done.returncode == 0, done.stderr
            known[job] = job.made(place)
        return known[job]

    return made_by


def copy(heads: Path, place: Path) -> None:
    for folder in ("H", "D"):
        shutil.copytree(heads / folder, place / folder)


@pytest.fixture
def place(heads: Path, tmp_path: Path) -> Path:
    copy(heads, tmp_path)
    return tmp_path


@pytest.fixture
def rng() -> random.Random:
    """Other moments every time; the seed is shown when a test fails."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def leftovers(place: Path) -> list[str]:
    """Files and folders for unfinished work."""
    return [str(path) for path in place.rglob(".synthtumour*")] + [str(p) for p in place.rglob("*.lock")]


def check_whole(job: Job, place: Path) -> None:
    """No half file under a final name: images can be read to their end, tables and JSON parsed."""
    for folder in job.made_in:
        for path in (place / folder).rglob("*"):
            if any(part.startswith(".synthtumour-") for part in path.parts) or path.is_dir():
                continue
            if path.name.endswith(".nii.gz"):
                read_volume(path)
            elif path.suffix == ".png":
                sitk.ReadImage(str(path))
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.name == "manifest.csv":
                check_manifest(path)


def check_manifest(path: Path) -> None:
    """Of every case that it says is made the files are there, and of no other."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for folder in ("imagesTr", "labelsTr"):
            there = list((path.parent / folder).glob(f"{row['case']}[_.]*"))
            if (path.parent / folder).is_dir():
                assert bool(there) == (row["status"] == "made"), row


def check_resumed(job: Job, place: Path, expected: dict[str, str]) -> None:
    """The same command ends the work, with the bytes of a run that nothing disturbed."""
    again = job.run(place)
    assert again.returncode == 0, again.stderr
    assert differences(job.made(place), expected) == []
    assert leftovers(place) == []


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def workers_of(pid: int) -> list[int]:
    """The worker processes of a run: the fork server's children."""
    return [worker for child in children(pid) for worker in children(child)]


SHORT = """
import resource, sys
from pathlib import Path
from synthtumour.volume import InputError, read_volume, write_volumes
volume = read_volume(sys.argv[1])
for extension in (".nii.gz", ".nii", ".mha", ".nrrd"):
    whole = Path("whole" + extension)
    write_volumes({whole: volume})
    length = whole.stat().st_size
    for limit in (0, length // 2, length - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            write_volumes({"short" + extension: volume})
            print("not noticed:", extension, limit, length)
        except InputError as error:
            if f"cannot write short{extension}: " not in str(error):
                print("not said:", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sorted(path.name for path in Path().iterdir() if not path.name.startswith("whole")))
"""


def test_an_image_cut_short_is_noticed_in_every_format(heads: Path, tmp_path: Path) -> None:
    """ITK says nothing of NIfTI, and of the end of NRRD."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(heads / "H/h0/flair.nii.gz")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("there_before", [False, True])
def test_of_several_outputs_all_are_there_or_none(place: Path, there_before: bool) -> None:
    """The image fits, the label (not compressed) does not."""
    resect = Job(
        "resect_multi_tumor.py", ("H/h0/flair.nii.gz", "i.nii.gz", "l.nii", "--record", "r.json"), ()
    )
    if there_before:
        assert resect.run(place, "--seed", "1").returncode == 0
    before = {path.name: path.read_bytes() for path in place.glob("*.*")}
    done = resect.run(place, "--seed", "2", limit=60_000)
    assert done.returncode == 2 and "l.nii" in done.stderr and len(done.stderr.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in place.glob("*.*")} == before and len(
        before
    ) == 3 * there_before
    if there_before:
        assert resect.run(place, "--seed", "2").returncode == 0
        after = {path.name: path.read_bytes() for path in place.glob("*.*")}
        assert set(after) == set(before) and all(after[name] != before[name] for name in before)


def full_disk(
    job: Job, place: Path, expected: dict[str, str], limit: int
) -> subprocess.CompletedProcess[str]:
    """A run on a full disk ends with a message; what it leaves is whole, and is carried on."""
    done = job.run(place, limit=limit)
    assert done.returncode in (1, 2), f"limit {limit}: {done.stderr}"
    assert "Traceback" not in done.stderr
    check_whole(job, place)
    assert leftovers(place) == []
    check_resumed(job, place, expected)
    return done


def test_full_disk(place: Path, undisturbed: Callable[[Job], dict[str, str]]) -> None:
    """Images are too long, labels are not: every case is told of, and nothing is left of any."""
    done = full_disk(STAGE1, place, undisturbed(STAGE1), 10_000)
    assert "9 failed" in done.stdout or "cannot write" in done.stderr


@pytest.mark.slow
@JOBS
def test_disk_full_for_every_kind_of_file(
    job: Job,
    place: Path,
    undisturbed: Callable[[Job], dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """No file may be longer than a limit; limits between the lengths of all that a run cannot do without.

    The page and the pictures may be longer. One that cannot be written is a note: its run ends well.
    """
    expected = undisturbed(job)
    assert job.run(place).returncode == 0
    made = [path for folder in job.made_in for path in (place / folder).rglob("*") if path.is_file()]
    told = ("journal.jsonl", "manifest.csv", "run.json")  # the seconds in them differ in length
    given = {path.stat().st_ino for path in place.glob("[DH]/*/*")}  # linked into the dataset, not written
    needed = [path.stat() for path in made if path.name not in told and path.suffix not in (".html", ".png")]
    lengths = sorted({stat.st_size for stat in needed if stat.st_ino not in given})
    assert max(path.stat().st_size for path in made if path.suffix == ".html") > lengths[-1] > 5_000
    for folder in job.made_in:
        shutil.rmtree(place / folder, ignore_errors=True)
    done = job.run(place, limit=lengths[-1] + 1)
    assert done.returncode == 0 and "no report" in done.stdout, done.stdout + done.stderr
    check_resumed(job, place, expected)
    for limit in {0, *(length - 1 for length in lengths[:: len(lengths) // 3]), lengths[-1] - 1}:
        for folder in job.made_in:
            shutil.rmtree(place / folder, ignore_errors=True)
        full_disk(job, place, expected, limit)


def killed(job: Job, place: Path, number: signal.Signals, of_group: bool, after_s: float) -> None:
    """Start `job`, send it a signal, see that it ends soon and leaves what is whole and true."""
    process = job.start(place)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    if process.poll() is None:
        (os.killpg if of_group else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=600)
    assert "Traceback" not in err or "return run(" not in err, err  # Python itself may still be starting
    check_whole(job, place)


KILLS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "job, numbers",
    [*((STAGE1, (number,)) for number in KILLS), (STAGE2, KILLS)],
    ids=[*(f"stage1-{number.name}" for number in KILLS), "stage2"],
)
def test_killed_at_20_random_moments(
    job: Job,
    numbers: tuple[signal.Signals, ...],
    place: Path,
    undisturbed: Callable[[Job], dict[str, str]],
    rng: random.Random,
) -> None:
    """The run, or its whole process group; each run carries on what is left of the one before."""
    job = replace(job, options=(*job.options, *MORE[job.script]))
    expected = undisturbed(job)
    for _ in range(20):
        killed(job, place, rng.choice(numbers), rng.random() < 0.5, rng.uniform(0.2, 4))
    check_resumed(job, place, expected)


@pytest.mark.slow
@JOBS
def test_killed_workers_cost_no_case(
    job: Job, place: Path, undisturbed: Callable[[Job], dict[str, str]], rng: random.Random
) -> None:
    """As the kernel ends them when memory runs out; twice, so even the same case has a try left."""
    job = replace(job, options=(*job.options, *MORE[job.script]))
    expected = undisturbed(job)
    process = job.start(place)
    dead = 0
    while dead < 2 and process.poll() is None:
        for victim in workers_of(process.pid)[:1]:
            time.sleep(rng.uniform(0, 0.2))  # short: on a fast machine the whole run takes a second
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                dead += 1
        time.sleep(0.005)
    assert dead
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    assert differences(job.made(place), expected) == [] and leftovers(place) == []


def test_two_runs_at_once(place: Path, undisturbed: Callable[[Job], dict[str, str]]) -> None:
    runs = [STAGE1.start(place), STAGE1.start(place)]
    ends = {process.pid: process.communicate(timeout=600)[1] for process in runs}
    winner, loser = sorted(runs, key=lambda process: process.returncode)
    assert (winner.returncode, loser.returncode) == (0, 2)
    assert f"another run is writing here (process {winner.pid} on {socket.gethostname()}" in ends[loser.pid]
    assert "--variants 3" in ends[loser.pid]
    assert differences(STAGE1.made(place), undisturbed(STAGE1)) == [] and leftovers(place) == []


@pytest.mark.slow
def test_no_clock_is_believed(place: Path, undisturbed: Callable[[Job], dict[str, str]]) -> None:
    """Times in the past or the future, of inputs or outputs, change nothing; other bytes at one time do."""
    expected = undisturbed(STAGE1)
    assert STAGE1.run(place).returncode == 0
    for n, path in enumerate(sorted(place.rglob("*.nii.gz"))):
        os.utime(path, (10**9 * (1 + 2 * (n % 2)),) * 2)
    assert "all 9 cases are there already" in STAGE1.run(place).stdout
    image = place / "out/Dataset101_A/imagesTr/h0_v01_0000.nii.gz"
    image = image if image.exists() else image.with_name("h0_v01val_0000.nii.gz")
    scan = place / "H/h1/flair.nii.gz"
    for path in (image, scan):
        status, content = path.stat(), bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = STAGE1.run(place)
    assert done.returncode == 1 and "1 made, 5 kept from before, 3 failed" in done.stdout
    check_whole(STAGE1, place)
    content[len(content) // 2] ^= 1
    scan.write_bytes(content)
    check_resumed(STAGE1, place, expected)


@pytest.mark.slow
@JOBS
def test_a_scan_that_goes_while_the_run_is_on(
    job: Job, place: Path, undisturbed: Callable[[Job], dict[str, str]], rng: random.Random
) -> None:
    """At five moments: never a traceback, and the whole when it is back.

    All after the scans are listed: without that scan Stage 1 is another run, its cases halved otherwise.
    """
    expected = undisturbed(job)
    for _ in range(5):
        for folder in job.made_in:
            shutil.rmtree(place / folder, ignore_errors=True)
        process = job.start(place)
        told = [place / folder / "run.json" for folder in job.made_in]
        while not any(path.exists() for path in told) and process.poll() is None:
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, 3))
        (place / "H/h1/flair.nii.gz").rename(place / "away.nii.gz")
        _, err = process.communicate(timeout=600)
        assert process.returncode in (0, 1, 2) and "Traceback" not in err, err
        check_whole(job, place)
        (place / "away.nii.gz").rename(place / "H/h1/flair.nii.gz")
    check_resumed(job, place, expected)


def test_input_that_may_not_be_read_or_written(place: Path) -> None:
    """A read-only folder of scans, a subject's and two files that cannot be opened: not by root either."""
    shut = [place / "H/h1", place / "H/h2/flair.nii.gz", place / "D/labelsTr/patient0.nii.gz"]
    for path, mode in (*((path, 0) for path in shut), (place / "H/h0", 0o555), (place / "H", 0o555)):
        path.chmod(mode)
    power = "-dac_override,-dac_read_search"
    start = ["setpriv", "--bounding-set", power, "--inh-caps", "-all"] if os.geteuid() == 0 else []
    said = {}
    for job, options in {STAGE1: (*STAGE1.options, "--variants", "1"), STAGE2: STAGE2.options[:-2]}.items():
        command = [*start, sys.executable, str(ROOT / job.script), *options]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        said[job] = done.stdout
    (place / "H").chmod(0o755)
    for path in shut:
        path.chmod(0o755)
    assert "1 made" in said[STAGE1]
    assert "skipped h1: cannot be read (Permission denied)" in said[STAGE1]
    assert "H/h2/flair.nii.gz: cannot be read (Permission denied)" in said[STAGE1]
    assert "2 used, 1 rejected" in said[STAGE2] and "1 used, 1 rejected" in said[STAGE2]
    assert "rejected patient0: D/labelsTr/patient0.nii.gz: cannot be read" in said[STAGE2]


def test_links_in_the_input_and_the_output_on_another_disk(
    place: Path, undisturbed: Callable[[Job], dict[str, str]]
) -> None:
    """Links that lead out are followed; those in a circle, to nowhere or to what is there already are not."""
    (place / "elsewhere").mkdir()
    (place / "H/h2").rename(place / "elsewhere/h2")
    (place / "H/h2").symlink_to("../elsewhere/h2")
    (place / "H/a_copy").symlink_to("h0")
    (place / "H/circle").symlink_to(".")
    (place / "H/up").symlink_to("..")
    (place / "H/gone").symlink_to("nowhere")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as disk:
        (place / "out").mkdir()
        (place / "out/Dataset101_A").symlink_to(disk)
        done = STAGE1.run(place)
        assert done.returncode == 0, done.stderr
        assert "3 scans" in done.stdout and "skipped a_copy: the same file as h0" in done.stdout
        names = {Path(name).name for name in STAGE1.made(place)}
        assert STAGE1.made(place) == undisturbed(STAGE1) and len(names) > 20

"""--dask: real schedulers and workers on loopback, one killed half-way, and what may be wrong with them."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthtumour.errors import InputError
from synthtumour.runs.loop import _executor_failure
from synthtumour.runs.worker import make_cases
from tests.conftest import ROOT, MakeHead

pytestmark = pytest.mark.peer


VARIANTS, SCANS = 6, 6


class Cluster:
    """A scheduler and its workers; `address` is the scheduler's."""

    def __init__(self, folder: Path, code: Path | None) -> None:
        self.folder, self.processes = folder, []
        place = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(folder / "scheduler.json"))
        self.start("scheduler", *place, code=code)
        self.address = address_in(folder / "scheduler.json")

    def start(
        self, *command: str, code: Path | None = ROOT, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if code:
            environment["PYTHONPATH"] = str(code)
        log = (self.folder / f"{len(self.processes)}.log").open("w")
        line = [*prefix, sys.executable, "-m", "dask", *command, "--no-dashboard"]
        self.processes.append(
            subprocess.Popen(line, env=environment, cwd=self.folder, stdout=log, stderr=log)
        )
        return self.processes[-1]

    def worker(self, *options: str, **how: object) -> subprocess.Popen:
        before = len(self.workers())
        place = ("--local-directory", str(self.folder / "scratch"), "--no-nanny", "--nthreads", "1")
        process = self.start("worker", self.address, *place, *options, **how)  # type: ignore[arg-type]
        wait_for(lambda: len(self.workers()) > before)
        return process

    def workers(self) -> dict[str, int]:
        import distributed

        with distributed.Client(self.address, timeout=20, set_as_default=False) as client:
            return client.nthreads()

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


def address_in(scheduler_file: Path) -> str:
    wait_for(lambda: scheduler_file.is_file() and scheduler_file.read_text().endswith("}"))
    return json.loads(scheduler_file.read_text())["address"]


def wait_for(condition) -> None:
    give_up = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)  # a run on a fast machine takes a second or two


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask", getattr(request, "param", ROOT))
    yield cluster
    cluster.close()


@pytest.fixture
def scans(make_head: MakeHead, tmp_path: Path) -> Path:
    for n in range(SCANS):
        make_head(f"in/s{n}", seed=n)
    return tmp_path / "in"


def command(scans: Path, output: Path, *options: str) -> list[str]:
    script = [sys.executable, str(ROOT / "prompt_multi_tumor.py"), "--variants", str(VARIANTS)]
    return [*script, "--input", str(scans), "--output", str(output), *options]


def run(scans: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(scans, output, *options), capture_output=True, text=True, timeout=600)


def images(output: Path) -> dict[str, bytes]:
    return {str(f.relative_to(output)): f.read_bytes() for f in sorted(output.glob("*Tr/*.nii.gz"))}


def made(output: Path) -> collections.Counter[str]:
    lines = map(json.loads, (output / "journal.jsonl").read_text().splitlines())
    return collections.Counter(line["case"] for line in lines if line.get("status") == "made")


def assert_as_local(scans: Path, output: Path) -> None:
    local = output.parent / "Dataset009_Local"
    assert run(scans, local, "--workers", "1").returncode == 0
    assert len(images(local)) == 2 * SCANS * VARIANTS and images(output) == images(local)
    for name in ("dataset.json", "splits_final.json"):
        here, there = (json.loads((folder / name).read_text()) for folder in (local, output))
        assert here == there or here.pop("name") != there.pop("name") and here == there
    assert set(made(output).values()) == {1} and len(made(output)) == SCANS * VARIANTS


def test_a_worker_killed_half_way(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    first, _ = cluster.worker(), cluster.worker()
    output = tmp_path / "Dataset001_Dask"
    process = subprocess.Popen(command(scans, output, "--dask", cluster.address), stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list(output.glob("labelsTr/*.nii.gz"))) >= VARIANTS)
    first.kill()
    assert process.wait(timeout=600) == 0
    assert_as_local(scans, output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_same_command_carries_on(
    cluster: Cluster, scans: Path, tmp_path: Path, number: signal.Signals
) -> None:
    cluster.worker()
    output = tmp_path / "Dataset001_Dask"
    line = command(scans, output, "--dask", cluster.address)
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(list(output.glob("labelsTr/*.nii.gz"))) >= VARIANTS)
    process.send_signal(number)
    assert process.wait(timeout=20) == (130 if number == signal.SIGINT else -number)
    early = len(made(output))
    assert 0 < early < SCANS * VARIANTS
    assert len(cluster.workers()) == 1  # the user's cluster is left running
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and f"{early} kept from before" in done.stdout
    assert_as_local(scans, output)


def test_stage2_on_a_cluster(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    cluster.worker()
    donors = tmp_path / "Dataset001_Donors"
    assert run(scans, donors, "--workers", "1", "--val-fraction", "0").returncode == 0
    mixed = {}
    for name, how in (("local", ("--workers", "1")), ("dask", ("--dask", cluster.address))):
        place = tmp_path / name / "Dataset001_Donors"
        shutil.copytree(donors, place, ignore=shutil.ignore_patterns("*.json*", "*.csv", "*.html"))
        line = [sys.executable, str(ROOT / "stage2_mixed_with_pseudo_label.py"), "-num", "8", *how]
        line += ["--imagesTr_path", str(place / "imagesTr"), "--labelsTr_path", str(place / "labelsTr")]
        line += ["--healthyimgTr", str(scans), "--combine", str(tmp_path / name / "Dataset102_Senior")]
        line += ["--donor-masks", str(masks_for(donors, scans, tmp_path / "masks"))]
        done = subprocess.run(line, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        mixed[name] = {
            str(f.relative_to(tmp_path / name)): f.read_bytes() for f in (tmp_path / name).rglob("*.nii.gz")
        }
    assert len([name for name in mixed["dask"] if "TrMix" in name]) == 16
    assert mixed["dask"] == mixed["local"]


def masks_for(donors: Path, scans: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for label in (donors / "labelsTr").iterdir():
        shutil.copy(scans / label.name.split("_")[0] / "flair_brainmask.nii.gz", folder / label.name)
    return folder


def refused(scans: Path, output: Path, address: str) -> str:
    done = run(scans, output, "--dask", address)
    assert done.returncode == 2 and not output.exists()
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    return done.stderr


def test_no_scheduler_and_no_worker(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "Dataset001_A"
    assert "not the address of a scheduler" in refused(scans, output, "nonsense")
    assert "no Dask scheduler answers" in refused(scans, output, "tcp://127.0.0.1:9")
    assert "has no worker" in refused(scans, output, cluster.address)


def test_workers_that_cannot_take_part(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "Dataset001_A"

    def said_with(**how: object) -> str:
        worker = cluster.worker(**how)  # type: ignore[arg-type]
        said = refused(scans, output, cluster.address)
        worker.terminate()
        wait_for(lambda: not cluster.workers())
        return said

    assert "does not find synthtumour" in said_with(code=None)
    other = tmp_path / "other"
    shutil.copytree(ROOT / "synthtumour", other / "synthtumour")
    with (other / "synthtumour/shape.py").open("a") as source:
        source.write("# edited\n")
    assert "with sources" in said_with(code=other)


@pytest.mark.parametrize("cluster", [None], indirect=True)
def test_a_scheduler_without_the_toolkit(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    import distributed

    cluster.worker()
    said = refused(scans, tmp_path / "Dataset001_A", cluster.address)
    assert f"{cluster.address}: the scheduler there does not find synthtumour; " in said
    assert "PYTHONPATH" in said
    # What a run would say of a case there, were it not refused; and of one that ends its worker.
    with distributed.Client(cluster.address, timeout=20, set_as_default=False) as client:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        unread, killed = (
            client.get_executor().submit(*task).exception(timeout=60)
            for task in ((make_cases, None, None, None), (os._exit, 1))
        )
    assert isinstance(unread, Exception) and isinstance(killed, Exception)
    said = _executor_failure(unread)
    assert "Error during deserialization of the task graph" in said
    assert "died" not in said and "\n" not in said
    assert "its worker process died" in _executor_failure(killed)


def test_workers_with_another_file_system(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    hide = f'mount -t tmpfs none {tmp_path / "out"} && exec "$@"'
    cluster.worker(prefix=("unshare", "--mount", "bash", "-c", hide, "bash"))
    assert "does not see" in refused(scans, tmp_path / "out/Dataset001_A", cluster.address)


def test_a_cluster_that_goes_away(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    cluster.worker()
    output = tmp_path / "Dataset001_Dask"
    line = command(scans, output, "--dask", cluster.address)
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(list(output.glob("labelsTr/*.nii.gz"))) >= VARIANTS)
    cluster.close()
    _, said = process.communicate(timeout=600)
    assert process.returncode == 2 and "the same command carries on" in said and "Traceback" not in said
    assert (output / "manifest.csv").is_file()
    assert run(scans, output, "--workers", "1").returncode == 0  # elsewhere, if need be
    assert_as_local(scans, output)


def test_the_lines_of_the_docs(cluster: Cluster, scans: Path, tmp_path: Path) -> None:
    """As printed, but for where things are, and with 2 worker processes (and their nannies) for 16."""
    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    block = next(b for b in text.split("```")[1::2] if "dask scheduler" in b)
    scans.rename(tmp_path / "SUBJECTS")
    (tmp_path / "SynthTumour").symlink_to(ROOT)
    place = f"--host 127.0.0.1 --port 0 --scheduler-file {tmp_path}/printed.json --no-dashboard"
    for printed, here in (
        ("/shared", str(tmp_path)),
        ("dask scheduler", f"exec {sys.executable} -m dask scheduler {place}"),
        ("--nworkers 16", "--nworkers 2 --no-dashboard"),
        ("dask worker", f"exec {sys.executable} -m dask worker"),
        ("python prompt", f"{sys.executable} {ROOT}/prompt"),
    ):
        assert printed in block
        block = block.replace(printed, here)
    scheduler, worker, script = (
        next(x for x in block.splitlines() if what in x)
        for what in ("dask scheduler", "dask worker", "prompt_")
    )
    cluster.processes.append(subprocess.Popen(["bash", "-c", scheduler], cwd=cluster.folder))
    cluster.address = address_in(tmp_path / "printed.json")
    assert "tcp://HOST:8786" in worker and "tcp://HOST:8786" in script
    worker, script = (line.replace("tcp://HOST:8786", cluster.address) for line in (worker, script))
    cluster.processes.append(subprocess.Popen(["bash", "-c", worker], cwd=cluster.folder))
    wait_for(lambda: len(cluster.workers()) == 2)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert len(images(tmp_path / "nnUNet_raw/Dataset101_SynthTumour")) == 2 * SCANS
    cluster.processes[-1].terminate()  # its nannies end the workers
    cluster.processes[-1].wait(timeout=30)


@pytest.mark.parametrize("missing", ["_run", "_run_on_scheduler"])
def test_calls_that_distributed_no_longer_has(
    missing: str, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    from synthtumour.runs.dask import cluster_at

    folder = make_head("in/s0").parent
    monkeypatch.delattr(distributed.Client, missing)
    with distributed.LocalCluster(
        1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=None
    ) as local:
        with pytest.raises(InputError, match="not one of those that were tried") as refused:
            with cluster_at(local.scheduler_address, [folder], [folder]):
                pass
    assert "\n" not in str(refused.value) and distributed.__version__ in str(refused.value)

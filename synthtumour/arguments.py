"""What the command-line scripts share: the options a tumour is generated from, and how errors are told.

Imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthtumour import __version__
from synthtumour.presets import PRESETS, Preset

if TYPE_CHECKING:
    from synthtumour.fanout import Report
    from synthtumour.shards import Shard

_STOPPED = "interrupted; whole files only are left"
HDBET = "hdbet"  # the word that --brain-mask takes in place of a file
_SHAPES = ("noisy", "ellipsoid", "cuboid", "infiltrative")
_VAL_TASKS = ("scaled", "flat", "rings", "mixed")
_PACKAGES = (
    "the scripts need numpy, SimpleITK, scipy, pandas and tqdm: pip install -c requirements.txt and these"
)
_LONGEST_LINE = 4000  # a message may quote a file, and files may be hostile


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options of a run over many cases (`fanout.run`), and those of every script."""
    parser.add_argument(
        "--seed", "-s", type=seed, default=0, help="same seed, same cases (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", "-w", type=int, metavar="N", help="worker processes (default: the usable cores)"
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="let the workers of a Dask cluster do it, whose scheduler is at this address (tcp://HOST:8786)",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="make part I of N, as a run of its own beside the others (docs/clusters.md); --finalise then",
    )
    parser.add_argument(
        "--finalise",
        action="store_true",
        help="put together what the shards have made, and say what is missing",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="make all cases again, in place of what an earlier run made"
    )
    parser.add_argument(
        "--preview",
        action="store_true",
        help="a picture of every case, and contact_sheet.png of some of them (needs Pillow)",
    )
    parser.add_argument(
        "--brain-mask",
        choices=(HDBET,),
        help="make the brain masks that are missing with HD-BET, once, beside the output (needs "
        "requirements-hdbet.txt)",
    )
    talk = parser.add_mutually_exclusive_group()
    talk.add_argument(
        "--quiet",
        "-q",
        dest="tell",
        action="store_const",
        const="quiet",
        default="usual",
        help="say only how many cases were made, and what failed",
    )
    talk.add_argument(
        "--verbose",
        "-v",
        dest="tell",
        action="store_const",
        const="verbose",
        help="say of each case when it is made, its volume and its seconds",
    )
    add_program_options(parser)


def add_program_options(parser: argparse.ArgumentParser) -> None:
    """What every script takes: --debug and --version."""
    parser.add_argument(
        "--debug", action="store_true", help="print the traceback of every error too, for a report of a bug"
    )
    parser.add_argument("--version", action="version", version=f"SynthTumour {__version__}")


def sharing_from(args: argparse.Namespace) -> dict[str, Any]:
    """How the run's folder is shared, as `Journal` takes it."""
    from synthtumour.shards import shard_from

    _require(not (args.shard and args.finalise), "--finalise comes after the last --shard; give either")
    for option in ("shard", "finalise"):
        if getattr(args, option):
            _require(args.dask is None, f"--{option} and --dask are two ways; give either")
            _require(
                not args.overwrite,
                f"--{option} with --overwrite: that concerns all cases; choose another folder, or make "
                "them all again without shards",
            )
    return {"shard": shard_from(args.shard) if args.shard else None, "finalise": args.finalise}


def say_shard(report: Report, shard: Shard, tell: str) -> None:
    """What there is of a shard; the rest is for --finalise."""
    from synthtumour.progress import speaker, tell_outcome

    tell_outcome(report, tell, f"cases of shard {shard}")
    say = speaker(tell)
    say(f"when all {shard.count} shards are made: the same command with --finalise, without --shard")


@contextlib.contextmanager
def workers_from(
    args: argparse.Namespace, reads: Iterable[Path], writes: Iterable[Path]
) -> Iterator[dict[str, Any]]:
    """How to work, as `fanout.run` takes it: in processes here or, with --dask, by the workers of a cluster.

    `reads` and `writes` are the folders of the run, which the workers of a cluster have to see.
    """
    if args.dask is None:
        yield {"workers": args.workers, "debug": args.debug, "tell": args.tell}
        return
    _require(args.workers is None, "--workers counts processes here, --dask takes a cluster's; give either")
    try:
        from synthtumour.dask_cluster import cluster_at
    except ModuleNotFoundError as error:
        from synthtumour.volume import InputError

        raise InputError(
            f"--dask needs the package {error.name}: pip install -r requirements-dask.txt"
        ) from error
    with cluster_at(args.dask, reads, writes) as cluster:
        how = {"debug": args.debug, "tell": args.tell}
        yield {"workers": cluster.workers, "executor": cluster, "stop": cluster.stop, **how}


def add_generation_options(parser: argparse.ArgumentParser) -> None:
    """Options that say what tumours to draw and how to render them; each overrides the preset."""
    group = parser.add_argument_group("tumours", "whatever a preset fixes can be overridden")
    group.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        default="paper",
        help="named parameter set (default: %(default)s)",
    )
    group.add_argument(
        "--min-volume", "-miv", type=float, metavar="MM3", help="smallest volume before noise and clipping"
    )
    group.add_argument(
        "--max-volume", "-mav", type=float, metavar="MM3", help="largest volume before noise and clipping"
    )
    group.add_argument(
        "--volumes-path",
        "-p",
        type=Path,
        metavar="CSV",
        help="draw volumes from the column 'Volume' (mm^3) of this file instead",
    )
    group.add_argument(
        "--shape",
        choices=_SHAPES,
        help="shape model (infiltrative, the default of preset diverse, grows through the scan's own tissue)",
    )
    group.add_argument(
        "--num-tumours",
        type=int,
        nargs="+",
        metavar="N",
        help="how many tumours that do not merge: one number, or the least and the most",
    )
    group.add_argument(
        "--core-probability", type=float, metavar="P", help="how often a tumour has a core, 0 to 1"
    )
    group.add_argument(
        "--intensity-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="brightness of a tumour as a multiple of the scan's; with preset diverse, how many robust "
        "standard deviations of the brain above its median",
    )
    group.add_argument(
        "--buffer-sigma", type=float, metavar="MM", help="Gaussian sigma of the buffer layer round a tumour"
    )
    group.add_argument(
        "--val-task",
        choices=_VAL_TASKS,
        help="rule of the validation task: the scan brightened (scaled, the paper's), one intensity (flat), "
        "bright shells about a dark inside (rings), or one of these for each case (mixed)",
    )
    group.add_argument(
        "--location-prior",
        type=Path,
        metavar="PATH",
        help="map on the scan's grid of how probable it is that a tumour starts at a voxel",
    )
    group.add_argument(
        "--mass-effect",
        type=float,
        nargs="+",
        metavar="MM",
        help="push tissue away from a tumour by this much at most, or by a draw between two numbers "
        "(preset diverse; default: none)",
    )
    group.add_argument(
        "--labels",
        choices=("whole", "brats"),
        help="1 = tumour, or BraTS's values: 1 necrotic and other non-enhancing core, 2 oedema, 3 enhancing "
        "(preset diverse; default: whole)",
    )
    group.add_argument(
        "--nodules",
        type=float,
        metavar="P",
        help="how often a tumour is bright and has one to three times the least volume, 0 to 1 "
        "(preset diverse)",
    )
    group.add_argument(
        "--texture",
        type=float,
        metavar="F",
        help="strength of texture in tumours, as a multiple of the preset's, 0 for none (preset diverse)",
    )
    group.add_argument(
        "--distractors",
        type=float,
        metavar="P",
        help="how often a scan gets unlabelled bright spots, bright cortex, bias and the like, 0 to 1 "
        "(preset diverse)",
    )
    group.add_argument(
        "--shape-engine",
        choices=("formula", "resector"),
        default="formula",
        help="'resector' renders shapes through the real package resector (slow; must be installed)",
    )
    group.add_argument("--skull-strip", action="store_true", help="set everything outside the brain to zero")


def preset_from(args: argparse.Namespace) -> Preset:
    """The chosen preset with the options of `add_generation_options` over it.

    Raises InputError for values that contradict each other or make no sense.
    """
    preset = PRESETS[args.preset]
    changes: dict[str, object] = {}
    for option, field in (
        ("min_volume", "min_volume_mm3"),
        ("max_volume", "max_volume_mm3"),
        ("shape", "shape"),
        ("val_task", "val_task"),
        ("labels", "labels"),
        ("nodules", "nodule_probability"),
        ("texture", "texture"),
        ("distractors", "distractor_probability"),
        ("core_probability", "core_probability"),
        ("buffer_sigma", "buffer_sigma_mm"),
    ):
        if getattr(args, option) is not None:
            changes[field] = getattr(args, option)
    if args.intensity_range is not None:
        changes["intensity_range"] = tuple(args.intensity_range)
    if args.mass_effect is not None:
        _require(
            len(args.mass_effect) <= 2, "--mass-effect takes one number of mm, or the least and the most"
        )
        changes["mass_effect_mm"] = (args.mass_effect[0], args.mass_effect[-1])
    if args.num_tumours is not None:
        _require(len(args.num_tumours) <= 2, "--num-tumours takes one number, or the least and the most")
        changes["num_tumours"] = (args.num_tumours[0], args.num_tumours[-1])
        changes["several_probability"] = 1.0
    if args.volumes_path is not None:
        _require(
            args.min_volume is None and args.max_volume is None,
            "--volumes-path replaces --min-volume and --max-volume; give either",
        )
        changes["volumes_mm3"] = _read_volumes(args.volumes_path)
    preset = replace(preset, **changes)  # type: ignore[arg-type]

    if preset.model != "glioma":
        for option in ("mass_effect", "labels", "nodules", "texture", "distractors"):
            given = getattr(args, option) is not None
            _require(not given, f"--{option.replace('_', '-')} needs --preset diverse")
        _require(preset.shape != "infiltrative", "--shape infiltrative needs --preset diverse")
    _require(
        preset.shape != "infiltrative" or args.shape_engine == "formula",
        "--shape-engine resector has no infiltrative shapes; add --shape noisy, ellipsoid or cuboid",
    )
    _require(
        args.shape_engine == "formula" or importlib.util.find_spec("resector") is not None,
        "--shape-engine resector: the package is missing; pip install resector==0.2.10",
    )
    for option, chance in (
        ("nodules", preset.nodule_probability),
        ("distractors", preset.distractor_probability),
        ("core-probability", preset.core_probability),
    ):
        _require(0 <= chance <= 1, f"--{option} {chance:g}: needs 0 to 1")
    _require(0 <= preset.texture <= 5, f"--texture {preset.texture:g}: needs 0 to 5")
    low, high = preset.mass_effect_mm
    _require(0 <= low <= high <= 30, f"--mass-effect {low:g} {high:g}: needs 0 <= least <= most <= 30 mm")
    low, high = preset.min_volume_mm3, preset.max_volume_mm3
    for option, volume in (("min", low), ("max", high)):
        _require(1 <= volume <= 1e7, f"--{option}-volume {volume:g}: needs 1 to 10000000 mm^3")
    _require(
        low <= high, f"--min-volume {low:g} is above --max-volume {high:g} (the default where not given)"
    )
    low, high = preset.intensity_range
    _require(0 <= low <= high <= 1000, f"--intensity-range {low:g} {high:g}: needs 0 <= LOW <= HIGH <= 1000")
    fewest, most = preset.num_tumours
    _require(1 <= fewest <= most <= 100, f"--num-tumours {fewest} {most}: needs 1 <= least <= most <= 100")
    sigma = preset.buffer_sigma_mm
    _require(0 <= sigma <= 20, f"--buffer-sigma {sigma:g}: needs 0 to 20 mm")
    return preset


def seed(text: str) -> int:
    """argparse type of --seed: a whole number from 0 up."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: must be 0 or more")
    return number


def run(
    main: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, argv: list[str] | None
) -> int:
    """Parse `argv` and call `main`; problems become one line on stderr and an exit code.

    2: unusable input; 1: something nobody has thought of; 130: Ctrl-C; 143: terminated. Either way `main` can
    tidy up behind itself. With --debug the traceback goes before the line.
    """
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next: answers and ends here
        with contextlib.suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever has started us
            setattr(sys, name, open(os.devnull, "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names have letters that not every terminal has
            stream.reconfigure(errors="backslashreplace")
    args = _parsed(parser, argv)

    def tell(kind: str, message: object) -> None:
        print(printable(f"{parser.prog}: {kind}: {message}")[:_LONGEST_LINE], file=sys.stderr)

    def fail(error: BaseException, message: object, code: int) -> int:
        for line in "".join(traceback.format_exception(error)).splitlines() if args.debug else ():
            print(printable(line), file=sys.stderr)
        tell("error", message)
        return code

    try:
        from synthtumour.volume import InputError
    except ImportError as error:
        return fail(error, f"{error}; {_PACKAGES}", 2)
    except KeyboardInterrupt:  # it takes a while
        tell("stopped", _STOPPED)
        return 130

    def warn(message: Warning | str, *_: object, **__: object) -> None:
        tell("warning", message)

    def terminate(*_: object) -> None:
        raise SystemExit(143)

    with warnings.catch_warnings():
        warnings.showwarning = warn  # type: ignore[assignment]
        warnings.simplefilter("always", UserWarning)
        previous = signal.signal(signal.SIGTERM, terminate)
        try:
            code = main(args)
            sys.stdout.flush()  # here, where it can be told that it fails
            return code
        except InputError as error:
            return fail(error, error, 2)
        except ImportError as error:
            return fail(error, f"{error}; {_PACKAGES}", 2)
        except BrokenPipeError:  # whoever read what is printed has gone, `head` say
            _drop_output()
            return 128 + 13  # as a shell has it for a program that SIGPIPE ends
        except OSError as error:
            if error.filename is None:
                _drop_output()
            return fail(error, f"{error.filename or 'output'}: {error.strerror or error}", 2)
        except Exception as error:
            from synthtumour.fanout import reason_of

            return fail(error, reason_of(error), 1)
        except KeyboardInterrupt:
            tell("stopped", _STOPPED)
            return 130
        finally:
            signal.signal(signal.SIGTERM, previous)


def printable(text: str) -> str:
    """`text` with what a file name may hold that a terminal should not get written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_safely(text: str) -> None:
    """Print `text`, `printable`."""
    print(printable(text))


def _parsed(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """What `argv` says; argparse repeats a file name that it did not expect as it is."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(argv)
    finally:
        for line in said.getvalue().splitlines():
            print(printable(line), file=sys.stderr)


def _drop_output() -> None:
    """Send what is left to print nowhere: the interpreter would try again when it ends, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _read_volumes(path: Path) -> tuple[float, ...]:
    """The positive numbers in column 'Volume' of a CSV, in mm^3."""
    from synthtumour.volume import InputError, check_file

    if path.exists():
        check_file(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "Volume" not in (reader.fieldnames or []):
                raise InputError(f"{path}: no column 'Volume'; name the column of volumes in mm^3 so")
            volumes = tuple(float(row["Volume"]) for row in reader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (TypeError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: column 'Volume' holds something other than numbers ({error})") from error
    _require(len(volumes) > 0, f"{path}: column 'Volume' is empty")
    _require(all(1 <= v <= 1e7 for v in volumes), f"{path}: needs volumes of 1 to 10000000 mm^3")
    return volumes


def _require(condition: bool, message: str) -> None:
    from synthtumour.volume import InputError

    if not condition:
        raise InputError(message)

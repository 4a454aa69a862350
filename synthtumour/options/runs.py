"""Options of a run over many cases."""

from __future__ import annotations

import argparse

from synthtumour.errors import require
from synthtumour.options.program import add_program_options, seed
from synthtumour.runs.conduct import Conduct

HDBET = "hdbet"  # the word that --brain-mask takes in place of a file


def add_run_options(parser: argparse.ArgumentParser, draws: bool = True) -> None:
    """Options of a run over many cases, with a seed if it `draws` anything, and those of every script."""
    group = parser.add_argument_group("the run")
    if draws:
        group.add_argument(
            "--seed", "-s", type=seed, default=0, help="same seed, same cases (default: %(default)s)"
        )
    group.add_argument(
        "--workers", "-w", type=int, metavar="N", help="worker processes (default: the usable cores)"
    )
    group.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="let the workers of a Dask cluster do it, whose scheduler is at this address (tcp://HOST:8786; "
        "default: processes on this machine)",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="make part I of N, as a run of its own beside the others (docs/clusters.md); --finalise then "
        "(default: all of it)",
    )
    group.add_argument(
        "--finalise",
        action="store_true",
        help="put together what the shards have made, and say what is missing",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="make all cases again, in place of what an earlier run made"
    )
    group.add_argument(
        "--preview",
        action="store_true",
        help="a picture of every case, and contact_sheet.png of some of them (needs Pillow)",
    )
    group.add_argument(
        "--brain-mask",
        choices=(HDBET,),
        help="make the brain masks that are missing with HD-BET, once, beside the output (needs "
        "requirements-hdbet.txt; default: none are made)",
    )
    talk = group.add_mutually_exclusive_group()
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


def conduct_from(args: argparse.Namespace) -> Conduct:
    """How a run is conducted; InputError for options that contradict each other."""
    from synthtumour.runs.shards import shard_from

    require(args.workers is None or args.workers >= 1, f"--workers {args.workers}: needs 1 or more")
    require(not (args.shard and args.finalise), "--finalise comes after the last --shard; give either")
    for option in ("shard", "finalise"):
        if getattr(args, option):
            require(args.dask is None, f"--{option} and --dask are two ways; give either")
            require(
                not args.overwrite,
                f"--{option} with --overwrite: that concerns all cases; choose another folder, or make "
                "them all again without shards",
            )
    require(
        args.dask is None or args.workers is None,
        "--workers counts processes here, --dask takes a cluster's; give either",
    )
    return Conduct(
        seed=getattr(args, "seed", 0),
        workers=args.workers,
        dask=args.dask,
        shard=shard_from(args.shard) if args.shard else None,
        finalise=args.finalise,
        overwrite=args.overwrite,
        preview=args.preview,
        make_masks=args.brain_mask == HDBET,
        tell=args.tell,
        debug=args.debug,
        command=args.command,
    )

#!/usr/bin/env python3
"""Make the weights that ship with the package: a network trained on tumour-free scans alone.

Learns from the scans of --healthy, and simulated brains if there are any, with the preset `diverse` and a
fixed seed. Give only scans whose terms let a network made from them be distributed.
Writes the weights, and beside them their checksum and what the file says of how they were made.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from synthtumour.files.staging import write_bytes, write_json  # noqa: E402
from synthtumour.options.program import add_program_options, run, seed  # noqa: E402
from synthtumour.text import print_safely  # noqa: E402

BOX = ROOT / "synthtumour/pilot/weights/box.pt"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make_weights.py", description=__doc__)
    parser.add_argument("--healthy", type=Path, required=True, metavar="FOLDER", help="tumour-free scans")
    parser.add_argument(
        "--simulated",
        type=Path,
        metavar="FOLDER",
        help="simulated brains to learn from as well (default: none)",
    )
    parser.add_argument(
        "--output", type=Path, default=BOX, metavar="WEIGHTS", help="(default: the package's)"
    )
    parser.add_argument("--iterations", type=int, default=3000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="(default: the usable cores)")
    parser.add_argument("--resume", action="store_true", help="carry on where it was interrupted")
    parser.add_argument("--overwrite", action="store_true", help="in place of the weights that are there")
    add_program_options(parser)
    return parser


def make_weights(args: argparse.Namespace) -> int:
    from synthtumour.pilot.network import digest_of, load_weights
    from synthtumour.pilot.train import PilotTraining, train

    asked = PilotTraining(
        weights=args.output,
        healthy=(args.healthy, *([args.simulated] if args.simulated else [])),
        iterations=args.iterations,
        seed=args.seed,
        threads=args.threads,
        resume=args.resume,
        overwrite=args.overwrite,
    )
    code = train(asked)
    if code == 0:
        pilot, _ = load_weights(args.output)
        checksum = args.output.with_suffix(".sha256")
        write_bytes(f"{digest_of(args.output)}  {args.output.name}\n".encode(), checksum)
        write_json(json.loads(json.dumps(asdict(pilot))), args.output.with_suffix(".json"))
        print_safely(f"checksum: {checksum}")
    return code


def main(argv: list[str] | None = None) -> int:
    return run(make_weights, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

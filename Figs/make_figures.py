#!/usr/bin/env python3
"""Make the README's figures: from DemoData (simulated) with our own output, and from measured curves.

selection is drawn from what benchmarks/selection_curve.py measured, and so is the curve in overview; the
curves in results are from benchmarks/two_stage.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from synthtumour.options.program import add_program_options, run  # noqa: E402

FIGURES = ("cases", "failures", "mixed", "overview", "presets", "results", "segmented", "selection", "stage1")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make_figures.py", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=FIGURES, default=FIGURES, help="these figures (default: all)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=ROOT / "Figs",
        metavar="FOLDER",
        help="where NAME.png goes (default: Figs)",
    )
    add_program_options(parser)
    return parser


def make_figures(args: argparse.Namespace) -> int:
    from synthtumour.errors import InputError

    try:
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error}; pip install -c requirements.txt matplotlib pillow") from error

    def network() -> ModuleType:
        from synthtumour.pilot.scans import check_torch

        check_torch()
        from Figs import network

        return network

    from Figs import gallery, overview, presets, results, selection, stage1

    demo, curve = ROOT / "DemoData", ROOT / "benchmarks" / "selection_curve.csv"
    points = ROOT / "benchmarks" / "results.csv"
    draw = {
        "cases": lambda path: gallery.draw_cases(demo, path),
        "failures": lambda path: network().draw_failures(demo, path),
        "mixed": lambda path: gallery.draw_mixed(demo, path),
        "overview": lambda path: overview.draw(demo, curve, path),
        "presets": lambda path: presets.draw(demo, path),
        "results": lambda path: results.draw(points, path, network().worst_median_best(demo)),
        "segmented": lambda path: network().draw_segmented(demo, path),
        "selection": lambda path: selection.draw(curve, path),
        "stage1": lambda path: stage1.draw(demo, path),
    }
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.output / f"{name}.png"
        draw[name](path)
        print(path)
    return 0


def main(argv: list[str] | None = None) -> int:
    return run(make_figures, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

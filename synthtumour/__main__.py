"""`python -m synthtumour`: which commands there are."""

from __future__ import annotations

import argparse
import sys

from synthtumour import __doc__ as DESCRIPTION
from synthtumour import __version__

COMMANDS = """\
commands:
  resect_multi_tumor              one scan: a synthetic image and its label
  prompt_multi_tumor              a folder of scans: a Stage 1 dataset
  stage2_mixed_with_pseudo_label  tumours and tumour-free scans: mixed cases
  refine_pseudo_label             scans and labels: the labels refined
  pilot_network                   scans: tumours segmented, by our own network

Each answers to --help. Not installed: python resect_multi_tumor.py, and so on,
in the folder of the source.
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m synthtumour",
        description=DESCRIPTION,
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"SynthTumour {__version__}")
    parser.parse_args(argv)
    parser.print_help()
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A small network: learn synthetic tumours, segment real ones, score. GPU or not."""

from __future__ import annotations

import argparse
import sys

from synthtumour import __version__
from synthtumour.options.mixing import refinement_from
from synthtumour.options.pilot import (
    add_predict_options,
    add_score_options,
    add_train_options,
)
from synthtumour.options.program import run
from synthtumour.options.runs import conduct_from
from synthtumour.options.tumours import preset_from

EXAMPLES = """\
examples:
  python pilot_network.py predict --images flair.nii.gz --output tumour.nii.gz
  python pilot_network.py train junior.pt --healthy SUBJECTS
  python pilot_network.py predict junior.pt --images REAL/imagesTr \\
      --output REAL/labelsTr --preview
  python pilot_network.py train senior.pt --healthy SUBJECTS --init junior.pt \\
      --dataset nnUNet_raw/Dataset102_Senior
  python pilot_network.py score REAL/labelsTr --labels EXPERTS

`train --help`, `predict --help` and `score --help` tell the options of each.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pilot_network.py",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"SynthTumour {__version__}")
    parts = parser.add_subparsers(dest="part", required=True, metavar="{train,predict,score}")
    add_train_options(parts.add_parser("train", help="learn from scans, tumours drawn at every step"))
    add_predict_options(parts.add_parser("predict", help="segment scans"))
    add_score_options(parts.add_parser("score", help="compare segmentations with experts' labels"))
    return parser


def pilot(args: argparse.Namespace) -> int:
    return {"train": train, "predict": predict, "score": score}[args.part](args)


def train(args: argparse.Namespace) -> int:
    from synthtumour.pilot.train import PilotTraining
    from synthtumour.pilot.train import train as learn

    return learn(
        PilotTraining(
            weights=args.weights,
            healthy=tuple(args.healthy),
            datasets=tuple(args.dataset),
            real=tuple((images, labels) for images, labels in args.real),
            brain_masks=args.brain_masks,
            preset=preset_from(args),
            fresh_share=args.fresh_share,
            tumour_free_share=args.tumour_free_share,
            spacing_mm=args.spacing,
            mirror_channel=args.mirror_channel,
            iterations=args.iterations,
            minutes=args.minutes,
            threads=args.threads,
            device=args.device,
            seed=args.seed,
            init=args.init,
            resume=args.resume,
            overwrite=args.overwrite,
            any_brain_volume=args.any_brain_volume,
            tell="quiet" if args.quiet else "usual",
        )
    )


def predict(args: argparse.Namespace) -> int:
    from synthtumour.pilot.predict import Prediction
    from synthtumour.pilot.predict import predict as segment

    return segment(
        Prediction(
            images=args.images,
            output=args.output,
            weights=tuple(args.weights or args.given),
            brain_masks=args.brain_masks,
            image_name=args.image_name,
            refinement=refinement_from(args) if args.refine == "on" else None,
            min_logit=args.min_logit,
            save_probabilities=args.save_probabilities,
            any_brain_volume=args.any_brain_volume,
            conduct=conduct_from(args),
        )
    )


def score(args: argparse.Namespace) -> int:
    from synthtumour.pilot.score import Scoring
    from synthtumour.pilot.score import score as compare

    return compare(
        Scoring(
            predictions=args.predictions,
            labels=args.labels,
            tumour_free=args.tumour_free,
            images=args.images,
            brain_masks=args.brain_masks,
            output=args.output or args.predictions / "scores",
            tell="quiet" if args.quiet else "usual",
        )
    )


def main(argv: list[str] | None = None) -> int:
    return run(pilot, build_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Runs a script that trains with torch, its networks computed in bfloat16.

Weights, losses and what a network returns stay float32. On a CPU that has the instructions (avx512_bf16 or
amx_bf16 in lscpu's list) a training takes about half the time. Its numbers are not those of float32.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

import torch

in_float32 = torch.nn.Module.__call__


def in_bfloat16(network: torch.nn.Module, *args: Any, **options: Any) -> Any:
    if torch.is_autocast_enabled("cpu"):  # a layer of the network that was called
        return in_float32(network, *args, **options)
    with torch.autocast("cpu", torch.bfloat16):
        found = in_float32(network, *args, **options)
    return found.float()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="in_bfloat16.py", description=__doc__)
    parser.add_argument("script", type=Path)
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of the script")
    args = parser.parse_args()
    if not args.script.is_file():
        parser.error(f"{args.script}: not found")
    torch.nn.Module.__call__ = in_bfloat16  # type: ignore[method-assign]
    sys.path[0] = str(args.script.resolve().parent)  # as if Python had been given the script
    sys.argv = [str(args.script), *args.options]
    runpy.run_path(str(args.script), run_name="__main__")

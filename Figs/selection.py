"""Figs/selection.png: which checkpoint each rule chooses, as benchmarks/selection_curve.py measured it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from Figs.panels import BLUE, GREEN, ORANGE, PURPLE, RED, WIDTH_IN, save

# key of the curve, name, colour, line
CURVES = (
    ("plain", "plain validation: the training task, held-out subjects", GREEN, "--"),
    ("shifted", "shifted validation: the validation task, same tumours", BLUE, "-."),
    ("real", "real tumours: mean, and each (thin)", RED, "-"),
)
# what chooses a checkpoint, marker, colour
RULES = (
    ("last checkpoint", ">", "black"),
    ("lowest training loss", "v", PURPLE),
    ("best plain validation", "s", GREEN),
    ("best shifted validation", "*", BLUE),
    ("best on the real tumours", "o", ORANGE),
)


def draw(curve: Path, path: Path) -> None:
    """Draw the CSV file that selection_curve.py wrote."""
    rows = pd.read_csv(curve, keep_default_na=False)
    iterations = rows["iterations"]
    figure = Figure((WIDTH_IN, 6.2), layout="constrained")
    loss, dice, choice = figure.subplots(3, 1, sharex=True, height_ratios=(1, 3, 1.3))
    loss.plot(iterations, rows["training_loss"], color="black", lw=1.6)
    dice.plot(iterations, rows.filter(like="real_"), color=RED, lw=0.8, alpha=0.45)
    for key, name, colour, line in CURVES:
        dice.plot(iterations, rows[key], line, color=colour, lw=2.6 if key == "real" else 1.8, label=name)
    for n, (rule, marker, colour) in enumerate(RULES):
        row = rows[rows["chosen_by"].str.contains(rule)].iloc[0]
        choice.plot(row["iterations"], n, marker, color=colour, ms=10, clip_on=False)
        late = row["iterations"] > iterations.max() / 2
        choice.annotate(
            f"iteration {row['iterations']}: real tumours {row['real']:.3f}",
            *((row["iterations"], n), (-12 if late else 12, 0)),
            textcoords="offset points",
            ha="right" if late else "left",
            va="center",
            size=9,
        )
    loss.set_ylabel("training loss", size=10)
    dice.set_ylabel("Dice", size=10)
    dice.legend(loc="lower right", fontsize=9, frameon=False)
    choice.set_yticks(range(len(RULES)), [rule for rule, _, _ in RULES])
    choice.set_ylim(len(RULES) - 0.5, -0.5)
    choice.set_xlabel("training iterations", size=10)
    for ax in (loss, dice, choice):
        ax.tick_params(labelsize=9)
        ax.grid(color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    save(figure, path)

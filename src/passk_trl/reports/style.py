"""The style of all figures. Colours differ in brightness too, so that no reader needs to tell red from green."""

from typing import Any


# Okabe & Ito's palette.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
"""Matplotlib's settings, for `matplotlib.rc_context`."""

"""One style for every figure, and a figure as inline SVG that follows the page's colours."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Wong, Nature Methods 8, 441 (2011), lightened where needed to read on white and on near-black.
BLUE, ORANGE, GREEN, GREY = "#2f8ac9", "#dd6b20", "#129a74", "#8b929c"
# Stands for the page's text colour until the figure is printed.
INK = "#010203"

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "chipctl",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
}


class Canvas:
    """A figure being drawn; `markup` is set when the `canvas` block is left."""

    def __init__(self, figure: "Figure", alt: str) -> None:
        self.figure = figure
        self.alt = alt
        self.markup = Markup()


@contextmanager
def canvas(width_inches: float, height_inches: float, alt: str) -> Iterator[Canvas]:
    """Draw inside in the common style; `alt` says in words what the figure shows."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        drawn = Canvas(Figure(figsize=(width_inches, height_inches), layout="constrained"), alt)
        yield drawn
        drawn.markup = _to_svg(drawn.figure, drawn.alt)


def frame_cells(axes: "Axes", rows: int, cols: int) -> None:
    """Label an array's picture by the indices of its rows and columns."""
    axes.set_xticks([0, cols // 2, cols - 1])
    axes.set_yticks([0, rows // 2, rows - 1])
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    axes.spines[["top", "right"]].set_visible(True)


def _to_svg(figure: "Figure", alt: str) -> Markup:
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
    )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1))

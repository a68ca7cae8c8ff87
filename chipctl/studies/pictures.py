"""Pictures that several studies share: series against places, and bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from chipctl.runs.drawing import BLUE, GREEN, GREY, INK, ORANGE, canvas
from chipctl.studies.study import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (BLUE, ORANGE, GREEN, GREY, "#9b5fc0", "#c2a10c", "#c04f6b", "#4fb3bf")


@dataclass(frozen=True)
class Curves:
    """Series of a study against where they were measured, the spread over seeds shaded.

    series: their names and what they are called in the picture. factor: what places are multiplied with.
    published: points that the paper names, (place, value). slopes: growth of series that the paper
    states, drawn through their first point.
    """

    across: str
    up: str
    series: Mapping[str, str]
    log: bool = False
    factor: float = 1.0
    line: float | None = None
    """A level to be seen, dotted."""
    published: Sequence[tuple[float, float]] = ()
    slopes: Mapping[str, float] = field(default_factory=dict)

    def draw(self, found: Found) -> Markup:
        """The picture."""
        with canvas(6.4, 3.6, f"{self.up} against {self.across}") as drawing:
            self.onto(drawing.figure.subplots(), found)
        return drawing.markup

    def onto(self, axes: "Axes", found: Found) -> None:
        """The same on somebody's axes."""
        if self.log:
            axes.set(xscale="log", yscale="log")
        held = [name for name in self.series if name in found.series]
        for name, colour in zip(held, _COLOURS * 3, strict=False):
            self._draw_one(axes, found, name, colour)
        if self.published:
            at, values = np.array(self.published, float).T
            axes.plot(at * self.factor, values, "x", color=INK, label="named in the paper")
        if self.line is not None:
            axes.axhline(self.line, color=INK, lw=0.7, ls=":")
        axes.set(xlabel=self.across, ylabel=self.up)
        if self.log:
            self._name_places(axes, found, held)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.grid(axis="y")

    def _draw_one(self, axes: "Axes", found: Found, name: str, colour: str) -> None:
        at = np.array(found.places(name)) * self.factor
        means, spreads = found.means(name), found.spreads(name)
        axes.plot(at, means, "o-", ms=3.5, color=colour, label=self.series[name])
        low = np.maximum(means - spreads, means / 10 if self.log else -np.inf)
        axes.fill_between(at, low, means + spreads, color=colour, alpha=0.2, lw=0)
        if name in self.slopes:
            grown = means[0] * (at / at[0]) ** self.slopes[name]
            label = f"published growth, power {self.slopes[name]:g}"
            axes.plot(at, grown, "--", lw=0.9, color=colour, label=label)

    def _name_places(self, axes: "Axes", found: Found, held: Sequence[str]) -> None:
        from matplotlib.ticker import NullLocator

        places = sorted({at * self.factor for name in held for at in found.places(name)})
        axes.set_xticks(places, [f"{at:g}" for at in places])
        axes.xaxis.set_minor_locator(NullLocator())

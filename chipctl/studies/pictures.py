"""The picture that several studies share: series against places."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from chipctl.runs.drawing import BLUE, GREEN, GREY, INK, ORANGE, canvas
from chipctl.studies.study import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULES = {
    "Hebb": "#c2a10c",
    "Storkey": "#c04f6b",
    "pseudo-inverse": GREEN,
    "equilibrium propagation": GREY,
    "eq. (5)": "#9b5fc0",
    "eq. (5), as printed": "#4fb3bf",
    "eq. (5), plain descent": "#8a5a2b",
    "optimal stability": "#d873b0",
    "blurred": "#6f7d3c",
    "eq. (6)": BLUE,
    "eq. (6), as printed": "#12355b",
    "shown flips": ORANGE,
    "shown noise": ORANGE,
}
"""Colour of each learning rule, in every picture the same."""
_OTHERS = (BLUE, ORANGE, GREEN, GREY, *list(RULES.values())[4:9])
_VARIANTS = {"random", "self-connection", "aware"}
"""Words of a series' name that leave its colour and take the filling from its marks."""


def looks(names: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Colour of each series, and whether its marks are filled.

    The colour is that of the rule that the name ends with; further networks of one rule are paler.
    """
    spare = iter(_OTHERS * 3)
    colours: dict[str, str] = {}
    found = {}
    for name in names:
        words = [word for word in name.split(", ") if word != "digits"]
        plain = ", ".join(word for word in words if word not in _VARIANTS)
        if plain not in colours:
            rule = max((rule for rule in RULES if plain.endswith(rule)), key=len, default="")
            repeats = sum(other.endswith(rule) for other in colours) if rule else 0
            colours[plain] = _paler(RULES[rule], repeats) if rule else next(spare)
        found[name] = (colours[plain], not _VARIANTS & set(words))
    return found


def _paler(colour: str, times: int) -> str:
    share = 0.75**times
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(share * part + (1 - share) * 255):02x}" for part in parts)


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
        for name, look in looks(held).items():
            self._draw_one(axes, found, name, look)
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

    def _draw_one(self, axes: "Axes", found: Found, name: str, look: tuple[str, bool]) -> None:
        colour, is_filled = look
        face = colour if is_filled else "none"
        at = np.array(found.places(name)) * self.factor
        means, spreads = found.means(name), found.spreads(name)
        axes.plot(at, means, "o-", ms=3.5, color=colour, mfc=face, label=self.series[name])
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

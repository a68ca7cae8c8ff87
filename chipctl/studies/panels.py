"""Pictures of recall on a chip, laid out as He et al. do: maps, fields, digits, traces on one sheet."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from chipctl.runs.drawing import BLUE, GREY, INK, ORANGE, canvas
from chipctl.studies.study import Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Images = NDArray[np.float64]


def draw_binary(found: Found) -> Markup:
    """Target and readback, fields, digits, energy and cosine of the first chip (Fig. 3b to 3f)."""
    arrays = _first(found)
    with canvas(9.6, 8.4, "One layer on the chip: conductance, fields, digits, energy and cosine") as drawing:
        top, middle, low = _sheets(drawing.figure, (2.4, 2, 1.8))
        left, right = _sheets(top, (2.2, 1), beside=True)
        _maps(left, {name: _conductance(arrays, name) for name in ("target", "readback")})
        _fields(right.subplots(), arrays["fields"])
        _digits(middle, dict(zip(("cue", "recalled", "stored"), arrays["digits"], strict=True)))
        _traces(low, found)
    return drawing.markup


def draw_layers(found: Found) -> Markup:
    """Readback weights of both layers, and digits, of the first chip (Fig. 4b to 4d)."""
    arrays = _first(found)
    with canvas(9.6, 6.4, "Two layers on the chip: weights read back, and digits") as drawing:
        top, low = _sheets(drawing.figure, (1.6, 2))
        _weights(top, arrays)
        _digits(low, dict(zip(("cue", "recalled", "stored"), arrays["digits"], strict=True)))
    return drawing.markup


def draw_continuous(found: Found) -> Markup:
    """Weights of both layers, digits at each noise, cosine against iteration, first chip (Fig. 5b to 5e)."""
    arrays = _first(found)
    noises = found.places("two layers")
    with canvas(9.6, 12.5, "Continuous digits on the chip: weights, digits at each noise, cosine") as drawing:
        top, *each, low = _sheets(drawing.figure, (1.6, *([1.9] * len(noises)), 1.6))
        _weights(top, arrays)
        for part, sigma in zip(each, noises, strict=True):
            cues, recalled = arrays[f"two layers, {sigma:g}"]
            lines = {"cue": cues, "one layer": arrays[f"one layer, {sigma:g}"][1], "two layers": recalled}
            part.suptitle(f"noise {sigma:g}", fontsize=9)
            _digits(part, lines | {"stored": arrays["stored"]})
        axes = low.subplots()
        _trace(axes, found, "cosine", BLUE)
        axes.set(xlabel="iteration", ylabel=f"cosine, noise {noises[-1]:g}")
    return drawing.markup


def _sheets(whole: "Figure | SubFigure", shares: Sequence[float], *, beside: bool = False) -> Any:
    """Parts of a figure, one below or beside the other."""
    if beside:
        return whole.subfigures(1, len(shares), width_ratios=shares)
    return whole.subfigures(len(shares), 1, height_ratios=shares)


def _first(found: Found) -> dict[str, NDArray[Any]]:
    held = found.arrays[min(found.arrays)]
    return {name: np.array(array["values"], float) for name, array in held.items()}


def _conductance(arrays: Mapping[str, NDArray[Any]], name: str) -> Images:
    """The maps of all arrays side by side."""
    return np.hstack([arrays[key] for key in sorted(arrays) if key.startswith(name)])


def _maps(part: "SubFigure", maps: Mapping[str, Images]) -> None:
    grid = part.subplots(len(maps), 1)
    for axes, (name, siemens) in zip(grid, maps.items(), strict=True):
        axes.set_facecolor(GREY)
        picture = axes.imshow(siemens * 1e6, vmin=0, vmax=150, interpolation="none")
        axes.set(title=f"{name}, arrays side by side", xticks=[], yticks=[])
    part.colorbar(picture, ax=grid, label="conductance / µS", aspect=30)


def _weights(part: "SubFigure", arrays: Mapping[str, NDArray[Any]]) -> None:
    names = sorted(name for name in arrays if name.startswith("weights"))
    grid = part.subplots(1, len(names))
    for index, (axes, name) in enumerate(zip(grid, names, strict=True)):
        held = arrays[name][1] if index == 0 else arrays[name][1].T
        picture = axes.imshow(
            held * 150, cmap="PuOr", vmin=-150, vmax=150, interpolation="none", aspect="auto"
        )
        axes.set(title=f"{('encoder', 'decoder')[index]}, read back", xlabel="neuron", ylabel="hidden unit")
    part.colorbar(picture, ax=grid, label="difference of a pair / µS")


def _fields(axes: "Axes", fields: NDArray[Any]) -> None:
    expected, measured = fields.reshape(2, -1)
    reach = float(np.abs(fields).max())
    axes.plot(expected, measured, ".", ms=2, color=BLUE)
    axes.plot([-reach, reach], [-reach, reach], color=INK, lw=0.7)
    axes.set(xlabel="field expected", ylabel="field of the chip", aspect="equal")


def _digits(part: "SubFigure", lines: Mapping[str, Images]) -> None:
    count = len(next(iter(lines.values())))
    grid = part.subplots(len(lines), count)
    for row, (name, images) in zip(grid, lines.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, image in zip(row, images, strict=True):
            side = round(image.size**0.5)
            axes.imshow(image.reshape(side, side), cmap="gray", vmin=-1.1, vmax=1.1, interpolation="none")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)


def _traces(part: "SubFigure", found: Found) -> None:
    left, right = part.subplots(1, 2)
    _trace(left, found, "energy", ORANGE)
    _trace(right, found, "cosine", BLUE)
    left.set(xlabel="iteration", ylabel="energy / units of weight")
    right.set(xlabel="iteration", ylabel="cosine")


def _trace(axes: "Axes", found: Found, series: str, colour: str) -> None:
    at: Sequence[float] = found.places(series)
    means, spreads = found.means(series), found.spreads(series)
    axes.plot(at, means, "o-", ms=3, color=colour)
    axes.fill_between(at, means - spreads, means + spreads, color=colour, alpha=0.2, lw=0)
    axes.grid(axis="y")

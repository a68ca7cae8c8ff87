"""The pictures of a run, after He et al. Fig. 3 and 4: plain arrays in SI in, inline SVG out."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from chipctl.runs.drawing import BLUE, GREEN, GREY, INK, ORANGE, canvas, frame_cells
from firmware_protocol.jobs import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PUBLISHED_MEAN_SIEMENS, PUBLISHED_STD_SIEMENS = 0.108e-6, 3.894e-6
"""Programming error of He et al., Fig. 6a."""

_SPAN_MICROSIEMENS = 150
_ERROR_MICROSIEMENS = 15
_FAULTS = (
    ("stuck low", "v", BLUE),
    ("stuck high", "^", ORANGE),
    ("stuck between", "D", GREEN),
    ("on a dead line", "s", GREY),
)
_LEFT = (
    (Verdict.LOW, "v", "none", BLUE),
    (Verdict.HIGH, "^", "none", ORANGE),
    (Verdict.GAVE_UP_LOW, "v", BLUE, BLUE),
    (Verdict.GAVE_UP_HIGH, "^", ORANGE, ORANGE),
    (Verdict.SKIPPED, "s", GREY, GREY),
)
"""Marks of the devices that were not verified: verdict, marker, face, edge."""


def conductance_maps(
    target: ArrayLike, readback: ArrayLike, mask: ArrayLike | None = None, arrays: Sequence[int] = ()
) -> Markup:
    """Target, readback and their difference, array by array (He Fig. 3b, c).

    Siemens, shape (rows, cols) or (arrays, rows, cols), NaN (grey) where a device is not used; devices set
    in the boolean `mask` (the stuck ones) are marked, and grey in the difference. `arrays` gives the
    arrays' indices where they are not 0, 1, ...
    """
    wanted, found = _per_array(target), _per_array(readback)
    marked = np.zeros(wanted.shape, bool) if mask is None else _per_array(mask).astype(bool)
    count, names = len(wanted), _names(arrays, len(wanted))
    alt = f"Target and readback conductance of {count} array(s), 0 to {_SPAN_MICROSIEMENS} µS"
    span = (0, _SPAN_MICROSIEMENS)
    with canvas(10.4, 0.4 + 2.95 * count, alt) as drawing:
        grid = drawing.figure.subplots(count, 3, squeeze=False, sharex=True, sharey=True)
        for index, name, (left, middle, right) in zip(range(count), names, grid, strict=True):
            difference = np.where(marked[index], np.nan, found[index] - wanted[index])
            _draw_map(left, wanted[index], "viridis", span)
            conductance = _draw_map(middle, found[index], "viridis", span)
            errors = _draw_map(right, difference, "PuOr", (-_ERROR_MICROSIEMENS, _ERROR_MICROSIEMENS))
            _mark_cells(left, marked[index])
            _mark_cells(middle, marked[index])
            left.set_title(f"{name}: target")
            middle.set_title("readback")
            right.set_title("readback − target")
            for axes in (left, middle, right):
                axes.label_outer()
        bar = drawing.figure.colorbar
        bar(conductance, ax=grid[:, :2], label="conductance / µS", pad=0.01, aspect=36)
        bar(errors, ax=grid[:, 2], label="difference / µS", pad=0.02, aspect=36, extend="both")
    return drawing.markup


def fault_map(
    kinds: ArrayLike, arrays: Sequence[int] = (), rings: Mapping[str, ArrayLike] | None = None
) -> Markup:
    """Where devices are stuck: 0 healthy, 1 stuck low, 2 stuck high, 3 stuck between, 4 on a dead line.

    Integers, shape (rows, cols) or (arrays, rows, cols); `arrays` gives the arrays' indices where they
    are not 0, 1, ...; `rings` are flags of that shape by name, drawn around the devices they name.
    """
    maps = _per_array(kinds).astype(int)
    count = len(maps)
    names = _names(arrays, count)
    flags = {name: _per_array(ringed).astype(bool) for name, ringed in (rings or {}).items()}
    alt = f"Fault map: {np.count_nonzero(maps)} of {maps.size} devices stuck"
    with canvas(min(max(3.2 * count, 4.8), 9.6), 3.75, alt) as drawing:
        grid = drawing.figure.subplots(1, count, squeeze=False)[0]
        for index, axes in enumerate(grid):
            _draw_faults(axes, maps[index], {name: ringed[index] for name, ringed in flags.items()})
            stuck = np.count_nonzero(maps[index])
            axes.set_title(f"{names[index]}: {stuck} of {maps[index].size} stuck")
        totals = [np.count_nonzero(maps == kind) for kind, _ in enumerate(_FAULTS, start=1)]
        totals += [np.count_nonzero(ringed) for ringed in flags.values()]
        drawn = zip(*grid[0].get_legend_handles_labels(), totals, strict=True)
        # Dead lines are rare: their mark is explained where there is one
        shown = [(mark, f"{name} ({total})") for mark, name, total in drawn if total or name != _FAULTS[3][0]]
        marks, words = zip(*shown, strict=True)
        ncols = min(3, count + 1)  # so many fit into the width
        drawing.figure.legend(marks, words, loc="outside lower center", ncols=ncols, markerscale=1.8)
    return drawing.markup


def pulses_and_verdicts(pulses: ArrayLike, verdicts: ArrayLike) -> Markup:
    """Pulses that each device of an array got, and which devices are not verified.

    Numbers and `Verdict`, shape (rows, cols) each; the colours end at the 99th percentile.
    """
    counts, found = np.asarray(pulses), np.asarray(verdicts)
    verified = np.count_nonzero(found == Verdict.VERIFIED)
    alt = f"Pulses of each device, at most {counts.max()}; {verified} of {found.size} devices verified"
    with canvas(9.6, 3.9, alt) as drawing:
        left, right = drawing.figure.subplots(1, 2)
        most = max(float(np.percentile(counts, 99)), 1.0)
        picture = left.imshow(counts, cmap="viridis", vmin=0, vmax=most, interpolation="none")
        frame_cells(left, *counts.shape)
        drawing.figure.colorbar(picture, ax=left, label="pulses", extend="max")
        for verdict, marker, face, edge in _LEFT:
            row, col = np.nonzero(found == verdict)
            name = f"{verdict.name.lower().replace('_', ' ')} ({row.size})"
            right.scatter(col, row, s=9, marker=marker, c=face, edgecolors=edge, linewidths=0.7, label=name)
        rows, cols = found.shape
        right.set(xlim=(-0.5, cols - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")
        frame_cells(right, rows, cols)
        right.set(ylabel="", title=f"{verified} of {found.size} verified; the others:")
        right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), markerscale=1.8)
    return drawing.markup


def error_histogram(errors_siemens: ArrayLike, tolerance_siemens: float = 5e-6) -> Markup:
    """Programming error, readback − target, beside the published distribution (He Fig. 6a)."""
    errors = np.asarray(errors_siemens, float).ravel() * 1e6
    errors = errors[np.isfinite(errors)]
    if errors.size == 0:
        raise ValueError("no programming error to draw: every device is NaN")
    mean, std = float(errors.mean()), float(errors.std())
    published = PUBLISHED_MEAN_SIEMENS * 1e6, PUBLISHED_STD_SIEMENS * 1e6
    limit, tolerance = 20.0, tolerance_siemens * 1e6
    error = np.linspace(-limit, limit, 401)
    beyond = np.count_nonzero(np.abs(errors) > limit)
    alt = f"Programming error: mean {mean:+.2f} µS, standard deviation {std:.2f} µS, {errors.size} devices"
    with canvas(6.4, 3.3, alt) as drawing:
        axes = drawing.figure.subplots()
        axes.axvspan(
            -tolerance, tolerance, color=GREY, alpha=0.16, lw=0, label=f"tolerance ±{tolerance:g} µS"
        )
        axes.hist(
            np.clip(errors, -limit, limit), [*range(-int(limit), int(limit) + 1)], color=BLUE, alpha=0.75
        )
        axes.plot(
            error, errors.size * _gaussian(error, mean, std), color=INK, label=_moments("this run", mean, std)
        )
        axes.plot(
            error,
            errors.size * _gaussian(error, *published),
            "--",
            color=ORANGE,
            label=_moments("He et al.", *published),
        )
        axes.set(xlabel="readback − target / µS", ylabel="devices per µS", xlim=(-limit, limit))
        axes.set_ylim(top=axes.get_ylim()[1] * 1.05)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        share = np.mean(np.abs(errors) <= tolerance)
        note = f"{errors.size} devices\n{share:.1%} within ±{tolerance:g} µS\n{beyond} beyond ±{limit:g} µS"
        axes.text(1.03, 0.42, note, transform=axes.transAxes, va="top", fontsize=8)
    return drawing.markup


def digits(
    corrupted: ArrayLike, recalled: ArrayLike, stored: ArrayLike, labels: Sequence[str] = ()
) -> Markup:
    """Cue, recalled and stored patterns, one column each; wrong pixels are outlined (He Fig. 3e, 4d).

    Values in [-1, 1], shape (patterns, side²) or (patterns, side, side).
    """
    images = [_square(patterns) for patterns in (corrupted, recalled, stored)]
    truth = images[-1]
    count = len(truth)
    wrong = [int(np.count_nonzero(_differs(image, truth))) for image in images[:2]]
    alt = f"{count} patterns: {wrong[0]} wrong pixels in the cues, {wrong[1]} after recall"
    names = ["cue", "recalled", "stored"]
    with canvas(min(0.55 + 0.9 * count, 9.6), 2.95, alt) as drawing:
        grid = drawing.figure.subplots(3, count, squeeze=False)
        for line, (name, image) in enumerate(zip(names, images, strict=True)):
            for col, axes in enumerate(grid[line]):
                _draw_pattern(axes, image[col], _differs(image[col], truth[col]))
            grid[line, 0].set_ylabel(name)
        for axes, label in zip(grid[0], labels, strict=False):
            axes.set_title(label)
        for axes, image, pattern in zip(grid[1], images[1], truth, strict=True):
            axes.set_xlabel(f"{_cosine(image, pattern):.3f}", fontsize=8, labelpad=2)
    return drawing.markup


def energy_and_cosine(energies: Sequence[ArrayLike], cosines: Sequence[ArrayLike]) -> Markup:
    """Energy and cosine similarity against iteration, one line per recall and their mean (He Fig. 3f).

    One sequence per recall, from iteration 0 (the cue); a recall that settled early keeps its last value.
    """
    alt = f"Energy and cosine similarity of {len(cosines)} recalls against iteration"
    with canvas(8.0, 3.0, alt) as drawing:
        left, right = drawing.figure.subplots(1, 2)
        _draw_traces(left, energies, ORANGE)
        _draw_traces(right, cosines, BLUE)
        left.set(xlabel="iteration", ylabel="energy / units of weight")
        right.set(xlabel="iteration", ylabel="cosine similarity")
        right.axhline(1, color=INK, lw=0.7, ls=":")
        right.legend(loc="lower right")
    return drawing.markup


def memory_bars(cosines: Mapping[str, Mapping[str, ArrayLike]], required: float = 0.995) -> Markup:
    """Mean cosine of each memory under each condition (programmed, controls); a dot is the worst digit.

    `cosines[memory][condition]` holds one value per digit.
    """
    conditions = list(dict.fromkeys(name for memory in cosines.values() for name in memory))
    colours = [BLUE, ORANGE, GREEN, GREY]
    width = 0.8 / len(conditions)
    worst = min(float(np.min(np.asarray(v))) for memory in cosines.values() for v in memory.values())
    with canvas(7.2, 3.2, "Mean cosine similarity, programmed and controls") as drawing:
        axes = drawing.figure.subplots()
        for place, condition in enumerate(conditions):
            held = [(x, np.asarray(m[condition])) for x, m in enumerate(cosines.values()) if condition in m]
            at = np.array([x for x, _ in held]) + (place - (len(conditions) - 1) / 2) * width
            means = [float(np.mean(values)) for _, values in held]
            colour = colours[place % len(colours)]
            axes.bar(at, means, width * 0.92, color=colour, label=condition)
            lows = [float(np.min(values)) for _, values in held]
            axes.plot(at, lows, "o", ms=4, mfc="white", mec=INK, mew=0.8)
            for x, mean in zip(at, means, strict=True):
                axes.text(x, max(mean, 0) + 0.02, f"{mean:.3f}", ha="center", fontsize=8)
        axes.axhline(0, color=INK, lw=0.7)
        axes.axhline(required, color=INK, lw=0.8, ls="--", label=f"required {required:g}")
        axes.set(ylabel="cosine similarity", ylim=(min(0.0, worst - 0.05), 1.12))
        axes.set_xticks(range(len(cosines)), list(cosines))
        axes.tick_params(axis="x", length=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawing.markup


def _per_array(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim not in (2, 3):
        raise ValueError(f"expected (rows, cols) or (arrays, rows, cols), got shape {array.shape}")
    return array if array.ndim == 3 else array[np.newaxis]


def _names(arrays: Sequence[int], count: int) -> list[str]:
    if arrays and len(arrays) != count:
        raise ValueError(f"{count} maps but {len(arrays)} array indices")
    return [f"array {array}" for array in arrays or range(count)]


def _draw_map(axes: "Axes", siemens: NDArray[Any], colours: str, limits: tuple[float, float]) -> Any:
    low, high = limits
    axes.set_facecolor(GREY)
    picture = axes.imshow(siemens * 1e6, cmap=colours, vmin=low, vmax=high, interpolation="none")
    frame_cells(axes, *siemens.shape)
    return picture


def _draw_faults(axes: "Axes", kinds: NDArray[Any], rings: Mapping[str, NDArray[np.bool_]]) -> None:
    for kind, (name, marker, colour) in enumerate(_FAULTS, start=1):
        row, col = np.nonzero(kinds == kind)
        axes.scatter(col, row, s=9, marker=marker, color=colour, linewidths=0, label=name)
    for size, (name, ringed) in enumerate(rings.items(), start=1):
        row, col = np.nonzero(ringed)
        axes.scatter(
            col,
            row,
            s=18 * size,
            facecolors="none",
            edgecolors=[INK, GREY, BLUE][size % 3],
            linewidths=0.7,
            label=name,
        )
    rows, cols = kinds.shape
    axes.set(xlim=(-0.5, cols - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")
    frame_cells(axes, rows, cols)


def _mark_cells(axes: "Axes", marked: NDArray[np.bool_]) -> None:
    row, col = np.nonzero(marked)
    for colour, width in (("black", 1.3), ("white", 0.6)):
        axes.scatter(col, row, s=10, marker="s", facecolors="none", edgecolors=colour, linewidths=width)


def _gaussian(x: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    width = max(std, 1e-9)
    return np.exp(-(((x - mean) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))


def _moments(name: str, mean: float, std: float) -> str:
    return f"{name}: {mean:+.2f} µS, σ {std:.2f} µS"


def _square(patterns: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(patterns, float)
    side = math.isqrt(array[0].size)
    if side * side != array[0].size:
        raise ValueError(f"patterns of {array[0].size} pixels are not square")
    return array.reshape(len(array), side, side)


def _differs(image: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.abs(image - truth) > 0.5


def _draw_pattern(axes: "Axes", image: NDArray[np.float64], wrong: NDArray[np.bool_]) -> None:
    from matplotlib.patches import Rectangle

    axes.imshow(image, cmap="gray", vmin=-1.25, vmax=1.1, interpolation="none")
    for row, col in np.argwhere(wrong):
        axes.add_patch(Rectangle((col - 0.42, row - 0.42), 0.84, 0.84, fill=False, ec=ORANGE, lw=1.4))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _cosine(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    norms = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    return float(np.sum(left * right)) / max(norms, 1e-12)


def _draw_traces(axes: "Axes", traces: Sequence[ArrayLike], colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    lines = [np.asarray(trace, float) for trace in traces]
    longest = max(len(line) for line in lines)
    held = np.array([np.pad(line, (0, longest - len(line)), mode="edge") for line in lines])
    for line in lines:
        axes.plot(line, color=colour, alpha=0.35, lw=0.9, marker="o", ms=2)
    axes.plot(
        held.mean(axis=0), color=colour, lw=2.2, marker="o", ms=4, label=f"mean of {len(lines)} recalls"
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")

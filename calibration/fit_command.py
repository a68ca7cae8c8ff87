"""`chipctl fit`: laws of pulses and reads from data measured elsewhere."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.calibrate_report import row_of
from calibration.device_fit import LawFit, fit_reset, fit_set, louder
from calibration.fit_tables import PulseFile, ReadFile, read_pulses, read_reads
from calibration.fluctuation_fit import FluctuationLaw, Variances, fit_law, misfit
from calibration.thresholds import law_values, quality
from chipctl.cli.options import AsJson
from chipctl.cli.screen import print_json, print_table, remark
from chipctl.profile import ChipProfile
from chipctl.results import CalibrationResult, Quantity
from chipctl.runs.drawing import BLUE, GREY, INK, ORANGE, canvas
from chipctl.runs.record import RunRecord
from chipctl.runs.report import Figure, Report, Section, Table, provenance_section
from chipctl.runs.store import Run
from firmware_protocol.messages import RESET, SET

Floats = NDArray[np.float64]

GATE_NAMES = ("threshold", "threshold_spread", "gain", "gain_spread", "set_jitter")
"""What the profile keeps as the gate calibration; the rest of a fit of pulses is kept as the thresholds."""

_LEAST_READS, _LEAST_DEVICES = 10, 10
_BLOCK = 50
"""Reads whose own mean the deviations are taken from, so that slow drift does not count."""
MOST_SIEMENS = 50e-6
"""Read noise grows with conductance up to here (code of Mao et al. 2022); the law is fitted below."""
_MOST_MISFIT = 4.0
"""A law of the right form exceeds it once in two thousand times: χ² of 24 with six degrees of freedom."""
_MISFIT = "χ² of eight classes of conductance about the law, over its degrees of freedom"
_LOUDNESS_ROUNDS = 4
_SHOWN = 5
_NUMBERS = ("", "value", "uncertainty (1 σ)", "accepted", "")
_WORST = ("line", "device", "residual", "expected σ")


class Kind(StrEnum):
    """What the rows of a file are."""

    PULSES = "pulses"
    READS = "reads"


@dataclass(frozen=True)
class Fitted:
    """What a file said."""

    results: tuple[CalibrationResult, ...]
    residuals: dict[str, tuple[ArrayLike, str]]
    """A row for each pulse or device, with units."""
    worst: Sequence[tuple[str, ...]]
    """Rows farthest from what the law expects, for a person."""
    picture: Markup
    untold: tuple[str, ...] = ()
    """Parameters that the data do not determine."""


def declare(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fit")(fit_command)


_ConverterSigma = Annotated[
    float | None,
    typer.Option(
        min=0, help="Noise of TIA and ADC in one read, S (1 σ), where the file does not say; 0 if none."
    ),
]


def fit_command(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", exists=True, dir_okay=False)],
    kind: Annotated[Kind, typer.Option("--kind", help="What its rows are.")],
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile", metavar="FILE", help="Keep the laws in this profile; made if there is none."
        ),
    ] = None,
    series_ohms: Annotated[
        float,
        typer.Option(min=0, help="In series with a device in the readings; 0 if taken off already."),
    ] = 0.0,
    reading_error: Annotated[
        float,
        typer.Option(min=0, max=0.2, help="Share by which like readings may all be wrong: gain, linearity."),
    ] = 0.01,
    converter_sigma: _ConverterSigma = None,
    residuals: Annotated[
        Path | None, typer.Option("--residuals", metavar="CSV", help="Write every row's residual here.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are kept.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Fit the laws of SET and RESET, or of read noise, to data measured elsewhere.

    The first line of the file names its columns, in SI units. **pulses**: device, direction (SET or RESET),
    volts, gate_volts, width_s, before_siemens, after_siemens; and, if known, before_sigma and after_sigma,
    the uncertainties of the two readings. **reads**: device, siemens; and, if known, converter_sigma, the
    noise of TIA and ADC in one read; at least ten reads of each device, which are used up to 50 µS.
    With `--profile` the laws are kept for the chip as a whole; arrays calibrated by themselves keep their
    own. What the data don't tell is left out. The exit status is 1 if a law does not fit.
    """
    fitted = (
        _of_pulses(read_pulses(file, series_ohms, reading_error))
        if kind is Kind.PULSES
        else _of_reads(read_reads(file), series_ohms, converter_sigma)
    )
    record = RunRecord.begin("fit", policy={"file": str(file), "kind": str(kind), "series_ohms": series_ohms})
    with Run(runs, record) as run:
        run.save("residuals", attributes=None, **fitted.residuals)
        run.update(summary=_summary(fitted, run))
        run.write_report(_report(fitted, file, record).render())
    if profile:
        _keep(profile, fitted, run)
    if residuals:
        _write_residuals(residuals, fitted)
    if as_json:
        print_json(_summary(fitted, run))
    else:
        _print(fitted)
    if fitted.untold:
        remark(f"not determined by these data: {', '.join(fitted.untold)}")
    for reason in (reason for result in fitted.results for reason in result.reasons):
        remark(reason)
    remark(f"report: {run.report_path}")
    if not all(result.passed for result in fitted.results):
        raise typer.Exit(1)


# Pulses


def _fits(file: PulseFile) -> dict[int, LawFit]:
    """The laws of the directions that the file has; loudness of devices found on the way if need be."""
    table, fits = file.table, dict[int, LawFit]()
    for _ in range(1 if file.sigmas_given else _LOUDNESS_ROUNDS):
        table = louder(table, fits) if fits else table
        for direction, fit in ((SET, fit_set), (RESET, fit_reset)):
            mine = table.direction == direction
            if mine.any():
                fits[direction] = fit(table.of(mine))
    return fits


def _of_pulses(file: PulseFile) -> Fitted:
    """The laws, and what they leave over of each row."""
    fits = _fits(file)
    values: dict[str, Quantity] = {}
    for law in fits.values():
        values |= law_values(law)
    results = []
    if all(name in values for name in GATE_NAMES):
        gate = {name: values[name] for name in GATE_NAMES}
        gate["series_ohms"] = Quantity.of(0.0, np.nan, "Ω", about="taken off the readings")
        results.append(CalibrationResult.judged("gate", gate))
    rest = {name: value for name, value in values.items() if name not in GATE_NAMES}
    named = {"set" if direction == SET else "reset": law for direction, law in fits.items()}
    reasons = [] if results or rest else ["these data determine no parameter: vary volts and gate_volts"]
    results.append(CalibrationResult.judged("thresholds", rest | quality(named), reasons=reasons))
    residual, sigma = np.full(len(file.lines), np.nan), np.full(len(file.lines), np.nan)
    for direction, law in fits.items():
        mine = file.table.direction == direction
        residual[mine], sigma[mine] = law.residual, law.sigma
    table: dict[str, tuple[ArrayLike, str]] = {
        "line": (file.lines, "1"),
        "direction": (file.table.direction, "1"),
        "volts": (file.table.volts, "V"),
        "residual": (residual, "S"),
        "sigma": (sigma, "S"),
    }
    untold = tuple(n for law in fits.values() for n, found in law.estimates.items() if not found.determined)
    worst, picture = _worst(file, residual, sigma), _draw_pulses(file, residual, sigma)
    return Fitted(tuple(results), table, worst, picture, untold)


def _worst(file: PulseFile, residual: Floats, sigma: Floats) -> list[tuple[str, ...]]:
    order = np.argsort(-np.abs(residual / sigma))[:_SHOWN]
    return [
        (
            str(file.lines[at]),
            file.names[file.table.device[at]],
            f"{residual[at] * 1e6:+.2f} µS",
            f"{sigma[at] * 1e6:.2f} µS",
        )
        for at in order
    ]


def _draw_pulses(file: PulseFile, residual: Floats, sigma: Floats) -> Markup:
    """Residuals by voltage, and their histogram beside the Gaussian that they should follow."""
    z = np.clip(residual / sigma, -6, 6)
    with canvas(9.6, 3.4, "Residuals of the fitted laws of SET and RESET") as drawing:
        left, right = drawing.figure.subplots(1, 2)
        for name, direction, color in (("SET", SET, BLUE), ("RESET", RESET, ORANGE)):
            mine = file.table.direction == direction
            if mine.any():
                left.plot(file.table.volts[mine], z[mine], ".", ms=2, color=color, alpha=0.5, rasterized=True)
                left.plot([], [], ".", color=color, label=name)
        left.set(xlabel="pulse / V", ylabel="residual / σ")
        left.legend(loc="best")
        at = np.linspace(-6, 6, 121)
        right.hist(z, 60, range=(-6, 6), density=True, color=GREY, alpha=0.7)
        right.plot(at, np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi), color=INK, lw=1)
        right.set(xlabel="residual / σ", ylabel="share per unit")
    return drawing.markup


# Reads


def _of_reads(file: ReadFile, series_ohms: float, converter_sigma: float | None) -> Fitted:
    """The law of read noise of devices themselves, what is said of the converter taken off."""
    seen, names, count = _variances(file, series_ohms, converter_sigma)
    mean, variance, law = seen.mean_us, seen.variance_us2, fit_law(seen)
    errors = np.sqrt(np.diag(law.covariance))
    values = {
        "slope": Quantity.of(law.slope, errors[0], "1", about="of ln σ over ln G").within(0.0, 1.5),
        "offset": Quantity.of(law.offset, errors[1], "1", about="ln σ in µS at 1 µS").within(-5.0, -1.0),
        "spread": Quantity.of(law.spread, errors[2], "1", about="of ln σ over devices").within(0.0, 1.5),
        "misfit": Quantity.of(misfit(seen, law), np.nan, "1", about=_MISFIT).within(None, _MOST_MISFIT),
    }
    residual = 0.5 * np.log(variance / (law.sigma_us(mean) ** 2 + seen.noise_us2))
    order = np.argsort(-np.abs(residual))[:_SHOWN]
    worst = [("", names[at], f"ln σ {residual[at]:+.2f}", f"{law.spread:.2f}") for at in order]
    table: dict[str, tuple[ArrayLike, str]] = {
        "mean": (mean * 1e-6, "S"),
        "sigma": (np.sqrt(variance) * 1e-6, "S"),
        "converter_sigma": (np.sqrt(seen.noise_us2) * 1e-6, "S"),
        "residual": (residual, "1"),
    }
    valid_for: dict[str, JsonValue] = {"reads": count, "most_siemens": MOST_SIEMENS, "devices": mean.size}
    result = CalibrationResult.judged("fluctuation", values, valid_for=valid_for)
    return Fitted((result,), table, worst, _draw_reads(mean, np.sqrt(variance), law, residual))


def _variances(
    file: ReadFile, series_ohms: float, converter_sigma: float | None
) -> tuple[Variances, list[str], int]:
    """What the reads say of devices that the law can be held to, their names, and reads of each.

    What lies in series makes a device's conductance and, twice as strongly, its changes look too small.

    Raises:
        ValueError: Too few reads or devices, or nobody says how noisy the converter is: no reads tell.
    """
    if file.converter is None and converter_sigma is None:
        raise ValueError(
            "what TIA and ADC add to a read can't be told from what devices do: add a column converter_sigma "
            "(siemens, 1 σ), or say --converter-sigma; 0 if it was taken off"
        )
    short = [name for name, reads in file.reads.items() if len(reads) < _LEAST_READS]
    if short:
        raise ValueError(
            f"device {short[0]} has {len(file.reads[short[0]])} reads; at least {_LEAST_READS} of each are "
            "wanted, so leave out devices with fewer"
        )
    names = [
        name for name, reads in file.reads.items() if 0 < reads.mean() <= MOST_SIEMENS and reads.var() > 0
    ]
    if len(names) < _LEAST_DEVICES:
        raise ValueError(
            f"{len(names)} devices that vary around a mean above 0 and up to {MOST_SIEMENS * 1e6:g} µS, "
            f"where the law ends; {_LEAST_DEVICES} are wanted at least"
        )
    count = min(len(file.reads[name]) for name in names)
    reads = np.stack([file.reads[name][:count] for name in names]) * 1e6
    told = file.converter or dict.fromkeys(names, (converter_sigma or 0.0) ** 2)
    noise = np.array([told[name] for name in names]) * 1e12
    mean, (variance, freedom) = reads.mean(axis=1), _within_blocks(reads)
    own = 1.0 / (1.0 - mean * 1e-6 * series_ohms)
    return Variances(mean * own, variance * own**4, noise * own**4, freedom), names, count


def _within_blocks(reads: Floats) -> tuple[Floats, int]:
    """Variance of each device's reads (devices, reads) about the means of blocks, and degrees of freedom."""
    block = min(_BLOCK, reads.shape[1])
    whole = reads[:, : reads.shape[1] // block * block].reshape(len(reads), -1, block)
    return whole.var(axis=2, ddof=1).mean(axis=1), whole.shape[1] * (block - 1)


def _draw_reads(mean: Floats, sigma: Floats, law: FluctuationLaw, residual: Floats) -> Markup:
    """σ against conductance with the law, and what it leaves over."""
    line = np.geomspace(mean.min(), mean.max(), 50)
    with canvas(9.6, 3.4, "Read noise against conductance, and the fitted law") as drawing:
        left, right = drawing.figure.subplots(1, 2)
        left.plot(mean, sigma, ".", ms=3, color=GREY)
        for normal, style in ((-1, "--"), (0, "-"), (1, "--")):
            left.plot(line, law.sigma_us(line, normal), style, color=BLUE, lw=1)
        left.set(xscale="log", yscale="log", xlabel="mean conductance / µS", ylabel="σ of reads / µS")
        right.hist(residual, 40, color=GREY)
        right.set(xlabel="ln σ less that of the law", ylabel="devices")
    return drawing.markup


# Telling


def _keep(path: Path, fitted: Fitted, run: Run) -> None:
    """Put the laws into the profile, for the chip as a whole."""
    if path.exists():
        known = ChipProfile.load(path)
    else:
        known = ChipProfile.nominal(path.stem, 3, 64, 64)
        remark(f"{path} is new: chip {path.stem!r}, three arrays of 64×64")
    for result in fitted.results:
        known.keep(result.model_copy(update={"run": run.record.name}))
        arrays = [index for index in known.arrays if known.result(result.procedure, index) is not None]
        if arrays:
            places = ", ".join(map(str, arrays))
            remark(f"{result.procedure}: arrays calibrated by themselves keep their own ({places})")
    known.save(path)


def _summary(fitted: Fitted, run: Run) -> dict[str, Any]:
    return {
        "passed": all(result.passed for result in fitted.results),
        "results": [result.model_dump(mode="json") for result in fitted.results],
        "worst": [list(row) for row in fitted.worst],
        "not_determined": list(fitted.untold),
        "report": str(run.report_path),
    }


def _rows(result: CalibrationResult) -> list[tuple[str, str, str, str, str]]:
    return [row_of(name, quantity) for name, quantity in result.values.items()]


def _print(fitted: Fitted) -> None:
    for result in fitted.results:
        print_table(f"{result.procedure}: {result.verdict}", _NUMBERS, _rows(result))
    print_table("farthest from the law", _WORST, fitted.worst)


def _report(fitted: Fitted, file: Path, record: RunRecord) -> Report:
    sections = [
        Section(
            f"{result.procedure}: {result.verdict}", "; ".join(result.reasons), Table(_NUMBERS, _rows(result))
        )
        for result in fitted.results
    ]
    residuals = Section(
        "Residuals",
        "Rows farthest from what the law expects of them.",
        Table(_WORST, fitted.worst),
        [Figure("What the law leaves over.", fitted.picture)],
    )
    return Report(
        title="Laws of devices from a table",
        subtitle=str(file),
        sections=[*sections, residuals, provenance_section(record)],
    )


def _write_residuals(path: Path, fitted: Fitted) -> None:
    columns = {name: np.asarray(values) for name, (values, _) in fitted.residuals.items()}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))

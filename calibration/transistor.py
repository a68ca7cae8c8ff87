"""Access transistors in reads: their resistance and threshold, from reads at lower gate voltages."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray
from pydantic import JsonValue

from calibration.bench import Bench
from calibration.procedure import Effect, Procedure, Scope
from calibration.sampling import CURVE_CODES
from chipctl.errors import ChipctlError
from chipctl.results import Quantity
from chipctl.runs.drawing import BLUE, INK, canvas
from firmware_protocol.rails import Rail

Floats = NDArray[np.float64]

_GATES = (1.3, 1.6, 2.0, 2.6, 3.5)
"""V: all well above the threshold of transistors that work, none above that of reads."""
_BATCHES, _READS, _QUICK_READS = 4, 64, 16
_LEAST, _MOST = 10e-6, 400e-6
"""Conductances in which the transistor shows and which the gain of write-and-verify takes, S."""
_LEAST_DEVICES = 30
_ADCS_AT_WORK = 2
"""Of an array's four, as errors of their curves go: the devices that count most are few."""
_ROUNDS = 30
_START = np.array([300.0, 0.7])
_OHMS, _THRESHOLD = (0.0, 2000.0), (0.4, 1.2)


@dataclass(frozen=True)
class AccessTransistor:
    """What reads at several gate voltages say."""

    gate_volts: Floats
    """Of the reads, shape (gates,); the first is that of ordinary reads."""
    added_ohms: Floats
    """Resistance on top of that of ordinary reads, shape (gates,), the first 0."""
    added_sigma: Floats
    fitted: Floats
    """Resistance at the gate of ordinary reads (Ω) and threshold (V)."""
    covariance: Floats
    devices: int

    @property
    def values(self) -> dict[str, Quantity]:
        """Resistance and threshold."""
        sigma = np.sqrt(np.diag(self.covariance))
        ohms = Quantity.of(self.fitted[0], sigma[0], "Ω", about="of the open transistor, in ordinary reads")
        threshold = Quantity.of(self.fitted[1], sigma[1], "V", about="of the transistor, as reads see it")
        return {"ohms": ohms.within(*_OHMS), "threshold_volts": threshold.within(*_THRESHOLD)}

    @property
    def valid_for(self) -> dict[str, JsonValue]:
        """At the gate voltage of ordinary reads."""
        return {"gate_volts": float(self.gate_volts[0]), "devices": self.devices}

    @property
    def data(self) -> dict[str, tuple[ArrayLike, str]]:
        """The resistances at each gate, and the fit."""
        return {
            "gate_volts": (self.gate_volts, "V"),
            "added_ohms": (self.added_ohms, "Ω"),
            "added_sigma": (self.added_sigma, "Ω"),
            "fitted": (self.fitted, "1"),
        }

    def draw(self) -> Markup:
        """Resistance added as the gate falls, and the law."""
        with canvas(6.4, 3.2, "Resistance that lower gate voltages add to a device") as drawing:
            axes = drawing.figure.subplots()
            axes.errorbar(
                self.gate_volts,
                self.added_ohms,
                2 * self.added_sigma,
                fmt="o",
                ms=4,
                color=BLUE,
                label="reads",
            )
            at = np.linspace(self.gate_volts.min(), self.gate_volts[0], 100)
            axes.plot(at, _added(self.fitted, at, self.gate_volts[0]), color=INK, lw=0.8, label="fit")
            axes.set(xlabel="gate / V", ylabel="added resistance / Ω")
            axes.legend(loc="best")
        return drawing.markup


def measure_transistor(bench: Bench) -> AccessTransistor:
    """Read the array with the gates at lower and lower voltages; changes no device.

    Raises:
        ChipctlError: Too few devices of the array conduct enough to see the transistor.
    """
    open_volts, usual = _read_at(bench, None)
    mean = usual.mean(axis=0)
    chosen = (mean > _LEAST) & (mean < _MOST)
    if np.count_nonzero(chosen) < _LEAST_DEVICES:
        raise ChipctlError(
            f"array {bench.array}: {np.count_nonzero(chosen)} devices conduct enough to see the access "
            f"transistor, {_LEAST_DEVICES} are wanted; program a map first"
        )
    volts, sums = [open_volts], []
    with bench.progress.stage(f"access transistors of array {bench.array}", len(_GATES)) as tell:
        try:
            for done, gate in enumerate(_GATES):
                at, lower = _read_at(bench, gate)
                volts.append(at)
                sums.append(_by_column(usual, lower, chosen))
                tell(done + 1)
        finally:
            bench.chip.set_rail(Rail.TVDD, open_volts)
    r = bench.chip.readout
    converter = CURVE_CODES * r.lsb_siemens(bench.chip.sensitive_gain) / np.sqrt(_ADCS_AT_WORK)
    return _fitted(np.array(volts), np.array(sums), converter, int(np.count_nonzero(chosen)))


def _read_at(bench: Bench, gate: float | None) -> tuple[float, Floats]:
    """Gate voltage as read back, and conductances (batches, rows, cols) read with it; None: as it stands."""
    chip, reads = bench.chip, _QUICK_READS if bench.quick else _READS
    if gate is not None:
        chip.set_rail(Rail.TVDD, gate)
    read = [chip.read(bench.array, reads=reads, gain=chip.sensitive_gain) for _ in range(_BATCHES)]
    return chip.rails()[Rail.TVDD].measured_volts, np.stack(read)


def _by_column(usual: Floats, lower: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Weighted sums, shape (3, cols), of which the first over the second is the resistance that is added.

    With R = 1/G' - 1/G, G - G' = G G' R: left and right times G G', and G G' itself, summed with weights by
    the scatter of the batches.
    """
    ours, theirs = usual.mean(axis=0), lower.mean(axis=0)
    variance = (usual.var(axis=0, ddof=1) + lower.var(axis=0, ddof=1)) / len(usual)
    weight = np.where(chosen, 1.0 / np.maximum(variance, np.median(variance[chosen])), 0.0)
    both = ours * theirs
    parts = (weight * (ours - theirs) * both, weight * both * both, weight * both)
    return np.stack([part.sum(axis=0) for part in parts])


def _fitted(volts: Floats, sums: Floats, converter_siemens: float, devices: int) -> AccessTransistor:
    """The law through all gates, of sums (gates, 3, cols).

    Uncertainties by leaving out each column in turn, and by what the converters' curves may be off, which the
    reading at the usual gate hands on to all others.
    """
    products, squares, linear = sums[:, 0], sums[:, 1], sums[:, 2]
    added = products.sum(axis=1) / squares.sum(axis=1)
    without = (products.sum(axis=1)[:, None] - products) / (squares.sum(axis=1)[:, None] - squares)
    cols = products.shape[1]
    spread = without - without.mean(axis=1, keepdims=True)
    curve = converter_siemens * linear.sum(axis=1) / squares.sum(axis=1)
    covariance = (cols - 1) / cols * (spread @ spread.T) + np.outer(curve, curve) + np.diag(curve**2)
    fitted, slopes = _law(volts, added, covariance)
    inverse = np.linalg.inv(covariance)
    return AccessTransistor(
        volts,
        np.concatenate([[0.0], added]),
        np.concatenate([[0.0], np.sqrt(np.diag(covariance))]),
        fitted,
        np.asarray(np.linalg.inv(slopes.T @ inverse @ slopes), np.float64),
        devices,
    )


def _law(volts: Floats, added: Floats, covariance: Floats) -> tuple[Floats, Floats]:
    """Resistance and threshold by generalised least squares, and the model's derivatives (gates, 2)."""
    inverse = np.linalg.inv(covariance)
    law = _START
    for _ in range(_ROUNDS):
        steps = np.diag([1.0, 1e-4])
        slopes = np.stack(
            [
                (_added(law + step, volts[1:], volts[0]) - _added(law - step, volts[1:], volts[0]))
                / (2 * step.sum())
                for step in steps
            ],
            axis=1,
        )
        left = added - _added(law, volts[1:], volts[0])
        change = np.linalg.solve(slopes.T @ inverse @ slopes, slopes.T @ inverse @ left)
        law = np.clip(law + change, (1.0, 0.2), (5e3, volts[1:].min() - 0.05))
    return law, slopes


def _added(law: Floats, gate_volts: Floats, open_volts: float) -> Floats:
    """In inverse proportion to the gate's excess over the threshold, less that of ordinary reads, Ω."""
    ohms, threshold = law
    return np.asarray(ohms * ((open_volts - threshold) / (gate_volts - threshold) - 1.0))


TRANSISTOR = Procedure(
    name="transistor",
    title="Access transistors in reads",
    method="An open access transistor's resistance is in inverse proportion to its gate's excess over the "
    "threshold. All devices that conduct 10 to 400 µS are read at the gate voltage of ordinary reads and at "
    "five lower ones; the resistance that each adds gives both. It lies in series with every device: a "
    "device's own conductance and fluctuation are larger than reads show them.",
    scope=Scope.ARRAY,
    effect=Effect.NOTHING,
    needs=("adcs", "zeros"),
    fresh_days=90,
    seconds=20.0,
    measure=measure_transistor,
)

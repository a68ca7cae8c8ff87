"""A report of invented numbers with everything in it."""

import numpy as np
import pytest

from chipctl.runs import figures
from chipctl.runs.record import ChipIdentity, RunRecord
from chipctl.runs.report import Fact, Figure, Report, Section, Table, provenance_section


@pytest.fixture(scope="session")
def full_report():
    rng = np.random.default_rng(7)
    shape = (2, 64, 64)
    target = np.abs(rng.normal(0, 45e-6, shape)).clip(0, 150e-6)
    target[:, :, ::2] *= rng.random((2, 64, 32)) < 0.5
    kinds = rng.choice(4, shape, p=[0.94, 0.03, 0.02, 0.01])
    readback = target + rng.normal(0.2e-6, 3.9e-6, shape)
    readback = np.select([kinds == 1, kinds == 2, kinds == 3], [2e-6, 210e-6, 60e-6], readback)
    return Report(
        "chipctl demo: ten digits on a memristor chip",
        "sim://?preset=good&seed=7 · 2 memories · 21 s",
        [
            Fact("devices within ±5 µS", "83.4 %", "of 7 692 devices outside the fault map"),
            Fact("converged, worst array", "93.1 %", "required: 90 %", met=True),
            Fact("programming error", "+0.21 ± 3.87 µS", "required: ±0.5, σ ≤ 4.4 µS", met=True),
            Fact("mean cosine, 64–16–64", "0.9930", "required: 0.995", met=False),
        ],
        [
            _programming(target, readback, kinds),
            _recall(rng),
            provenance_section(
                RunRecord.begin(
                    "demo", seeds={"digits": 3}, chip=ChipIdentity(address="sim://?preset=good&seed=7")
                )
            ),
        ],
    )


def _programming(target: np.ndarray, readback: np.ndarray, kinds: np.ndarray) -> Section:
    errors = (readback - target)[kinds == 0]
    rows = [[0, 3850, "93.4 %", "+0.21", "3.87", "22.9"], [1, 3842, "93.1 %", "+0.18", "3.91", "23.4"]]
    return Section(
        "Programming",
        "Every device was written and verified at 0.2 V, then the whole array was read again.",
        Table(["array", "devices", "converged", "mean / µS", "σ / µS", "pulses per device"], rows),
        [
            Figure(
                "Conductance as wanted and as read back.",
                figures.conductance_maps(target, readback, kinds > 0),
            ),
            Figure("Stuck devices found before programming.", figures.fault_map(kinds)),
            Figure("Programming error.", figures.error_histogram(errors)),
        ],
    )


def _recall(rng: np.random.Generator) -> Section:
    stored = np.where(rng.random((10, 8, 8)) < 0.35, 1, -1)
    cue = np.where(rng.random(stored.shape) < 0.1, -stored, stored)
    recalled = stored.copy()
    recalled[4, 3, 3:5] *= -1
    lengths = rng.integers(3, 7, 20)
    cosines = [1 - 0.2 * np.exp(-np.arange(n)) for n in lengths]
    bars = {
        name: {
            "programmed": 1 - 0.01 * rng.random(10),
            "one pulse, open loop": 0.9 * rng.random(10),
            "not programmed": 0.5 * rng.random(10),
        }
        for name in ("64", "64–16–64")
    }
    return Section(
        "Recall",
        "Each pixel was flipped with p = 0.1; the chip was asked until no neuron flipped.",
        figures=[
            Figure(
                "Ten digits; wrong pixels outlined, cosine below.",
                figures.digits(cue, recalled, stored, "0123456789"),
            ),
            Figure("Energy and cosine.", figures.energy_and_cosine([-400 * c for c in cosines], cosines)),
            Figure("Programmed and controls; the dot is the worst digit.", figures.memory_bars(bars)),
        ],
    )

"""`paper`, `fast` and `fine` side by side on the same chips, and the floor that physics sets them."""

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import ANY, Bound, Measured, Plan, at_least, at_most
from benchmarks.programming import oracle
from benchmarks.programming.bench import (
    ARRAY,
    LAST_READS,
    RELAXED_SECONDS,
    Written,
    chip_of,
    seeds_of,
    uniform,
    unlike,
    written,
)
from chipctl.programming import program
from chipctl.schedules import named
from sim_chip import VirtualChip, device, preset

ADC_LSB_VOLTS, READ_VOLTS = 3.5 / 1023, 0.2

HOST_CHIPS = 2
"""Chips on which host and board are compared to the bit."""


def measure(plan: Plan) -> Iterator[Measured]:
    """Pulses, yield and error of each schedule on uniform maps of good chips."""
    seeds = seeds_of(plan)
    found = {name: [written(seed, named(name)) for seed in seeds] for name in ("paper", "fast", "fine")}
    paper, fast, fine = found.values()
    for name, runs in found.items():
        yield _line(f"{name}: pulses a device", "", ANY, [run.pulses for run in runs])
    ratios = [ours.pulses / theirs.pulses for ours, theirs in zip(fast, paper, strict=True)]
    yield _line("fast over paper: pulses", "×", at_most(0.5), ratios)
    yield _line("oracle: pulses a device", "", ANY, [oracle.pulses(seed) for seed in seeds])
    yield _line("paper: verified within ±5 µS", "%", ANY, [run.converged for run in paper])
    yield _line("fast: verified within ±5 µS", "%", at_least(98), [run.converged for run in fast])
    yield from _errors("paper", paper, ANY)
    yield from _errors("fast", fast, at_most(3.5))
    relaxed = [floor(seed, relaxing=True) for seed in seeds]
    yield _line("floor of fast: σ by relaxation and noise alone", "µS", ANY, relaxed)
    yield from _errors("fine", fine, at_most(1.7))
    noise = [floor(seed, relaxing=False) for seed in seeds]
    yield _line("floor of fine: σ by noise of the last reads alone", "µS", ANY, noise)
    yield _line("fine: within ±5 µS after the last rest", "%", ANY, [run.converged for run in fine])
    yield _line("fine: times devices are programmed again", "", ANY, [run.report.visits for run in fine])
    yield _line("fine: rest in all", "s", ANY, [run.report.rested_seconds for run in fine])
    yield _line("fine: most pulses of one device", "", ANY, [run.report.pulses.max() for run in fine])
    yield _line("fast: most pulses of one device", "", ANY, [run.report.pulses.max() for run in fast])
    others = [written(seed, named("fast"), unlike()) for seed in seeds]
    yield _line("fast on devices unlike the nominal: pulses", "", ANY, [run.pulses for run in others])
    verified = [run.converged for run in others]
    yield _line("fast on devices unlike the nominal: verified within ±5 µS", "%", at_least(98), verified)
    differing = [_differing(seed) for seed in seeds[:HOST_CHIPS]]
    yield _line("host loop: devices that differ from the board's job", "", at_most(0), differing)


def _line(name: str, unit: str, bound: Bound, values: list[float]) -> Measured:
    return Measured(name, unit, bound, tuple(float(value) for value in values))


def _errors(name: str, runs: list[Written], bound: Bound) -> Iterator[Measured]:
    yield _line(f"{name}: mean error after 100 s", "µS", ANY, [run.errors.mean() for run in runs])
    yield _line(f"{name}: σ of the error after 100 s", "µS", bound, [run.errors.std() for run in runs])


def floor(seed: int, *, relaxing: bool) -> float:
    """σ (µS) of the last reading of devices that were on target to begin with, by the chip's own laws.

    A device is read through its access transistor, which shrinks what happens to it; lines add a little.
    """
    parameters = preset("good")
    chip, target = VirtualChip(parameters, seed), uniform(seed).ravel()
    healthy = chip.planted(ARRAY)[0].ravel() == 0
    ohms = parameters.wires.transistor_ohms + parameters.wires.driver_ohms + parameters.wires.tia_ohms
    us = target / (1 - target * ohms) * 1e6
    shrinks = (1 - target * ohms) ** 2
    model, traits = parameters.relaxation, device.draw_traits(parameters, seed, ARRAY)
    age_ns = 2 ** int(np.log2(RELAXED_SECONDS)) * model.onset_ns
    relaxed = device.relaxation_us(model, us) * device.relaxation_scale(model, np.array([age_ns]))
    converters = parameters.converters
    lsb_us = ADC_LSB_VOLTS / converters.gain_ohms[named("fast").gain] / READ_VOLTS * 1e6
    read = device.fluctuation_us(parameters.fluctuation, target * 1e6, traits.noisiness)
    noise = (read**2 + lsb_us**2 * (converters.noise_lsb**2 + 1 / 12)) / LAST_READS
    variance = (relaxed * shrinks) ** 2 * relaxing + noise
    return float(np.sqrt(variance[healthy].mean()))


def _differing(seed: int) -> float:
    """Devices whose pulses or conductance are not the same to the bit after both ways of programming."""
    states = []
    for on_host in (False, True):
        with chip_of(seed) as (chip, mask):
            report = program(chip, ARRAY, uniform(seed), mask=mask, schedule=named("fast"), on_host=on_host)
            planted = chip.board.planted(ARRAY)
            assert planted is not None
            states.append((report.set_pulses, report.reset_pulses, planted[1]))
    differs = np.any([a != b for a, b in zip(*states, strict=True)], axis=0)
    return float(np.count_nonzero(differs))

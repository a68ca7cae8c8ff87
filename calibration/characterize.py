"""Characterise a chip as the published ones were: one procedure a figure, on one array."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from calibration.bench import Bench, Finding
from calibration.choosing import known_names
from calibration.dc_cycles import measure_dc_cycles
from calibration.fluctuation import measure_fluctuation
from calibration.linearity import measure_linearity
from calibration.programming_error import measure_programming_error
from calibration.retention import measure_retention


@dataclass(frozen=True)
class Procedure:
    """What one published figure shows, and how it is measured."""

    name: str
    title: str
    source: str
    method: str
    """How it is measured here, and what differs from the paper."""
    measure: Callable[[Bench], Finding]


PROCEDURES = {
    procedure.name: procedure
    for procedure in (
        Procedure(
            "2d",
            "DC current-voltage curves",
            "He et al. 2026, Fig. 2d",
            "One device, drawn at random, is taken through DC staircases: up to the SET voltage and back "
            "with the gate limiting the current, then up to the RESET voltage and back with the gate at 5 "
            "V; each step lasts a millisecond and its current is read at its end. RESET is drawn to the "
            "left.\n\n"
            "A virtual chip's curve has an assumed shape, ohmic and limited by the access transistor; "
            "where and how widely it switches follows from its model of pulses.",
            measure_dc_cycles,
        ),
        Procedure(
            "2e",
            "Current against read voltage",
            "He et al. 2026, Fig. 2e",
            "Devices at sixteen levels, 0 to 150 µS, are swept up to 0.2 V in both polarities, where no "
            "device switches, and each curve is compared with the straight line through zero that fits it "
            "best. What is left over is mostly the read fluctuation of each device and the last digit of "
            "the ADC.\n\n"
            "A virtual chip's devices are ohmic by assumption: there the figure tests programming and "
            "read-out, not the physics of conduction.",
            measure_linearity,
        ),
        Procedure(
            "2f",
            "Retention of sixteen levels",
            "He et al. 2026, Fig. 2f",
            "256 devices are programmed to each of sixteen levels, at places drawn at random over the "
            "array, and read (four reads averaged) at log-spaced times by the chip's own clock, the first "
            "of them a second after the last pulse. Where devices are stuck, each level has a few less.",
            measure_retention,
        ),
        Procedure(
            "6a",
            "Programming error",
            "He et al. 2026, Fig. 6a",
            "The array is first brought low by five RESET pulses of 1.5 V and 20 ns. Normal weights as "
            "differential pairs over 0 to 150 µS are then programmed with a tolerance of ±5 µS, stopping "
            "anywhere inside it as the paper does. After 100 s each device is read once, so the error "
            "holds relaxation, read fluctuation and the converter.",
            measure_programming_error,
        ),
        Procedure(
            "fluctuation",
            "Read fluctuation",
            "Mao et al. 2022, Methods",
            "Devices at sixteen states from 5 to 50 µS are read again and again, one device at a time. "
            "The law ln σ = a ln G + b + s N(0, 1), in µS, is fitted by maximum likelihood to the "
            "variance of every device's reads within blocks of 50, which slow drift does not enter.\n\n"
            "The converter's noise and quantisation are measured at each gain on columns that carry no "
            "current, and taken off in quadrature inside the likelihood: a device's variance is that of "
            "its own fluctuation plus that of the converter. Each device is judged at the most sensitive "
            "gain at which none of its reads came to an end of the ADC, and left out if it relaxed beyond "
            "5 to 50 µS. Conductances are the devices' own: access transistor and lines, as calibrated or "
            "nominal, are taken off, without which a would come out 0.012 lower.",
            measure_fluctuation,
        ),
    )
}


def chosen(names: list[str], *, everything: bool) -> list[Procedure]:
    """The procedures of these names in the order of the papers.

    Raises:
        ValueError: A name is unknown, or none is given.
    """
    wanted = known_names(names, PROCEDURES, everything=everything, purpose="measure")
    return [procedure for name, procedure in PROCEDURES.items() if name in wanted]


def characterize(bench: Bench, procedures: list[Procedure]) -> Iterator[tuple[Procedure, Finding]]:
    """Run procedures one after the other, each with what it found as soon as it is done.

    Changes the usable devices of the bench's array, no others.
    """
    for procedure in procedures:
        yield procedure, procedure.measure(bench)

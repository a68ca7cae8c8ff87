"""What one kind of virtual chip is made of: every number with its unit, range and source.

`Within` gives the range in which something is known about a parameter; a value outside it is
refused. Fit: our value, made to meet bench data. Assumed: an engineering value, nobody measured.
The values of the named kinds are in `sim_chip.presets`.
Voltages in V, resistances in Ω, conductances in µS where the name says so, times in ns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, get_type_hints

CURVE_POINTS = 65
"""Of a known ADC's curve, evenly over its codes."""


@dataclass(frozen=True)
class Within:
    """Evidence for a parameter: lowest and highest value, unit, source.

    spread: largest device-to-device standard deviation, where the parameter has one.
    """

    low: float
    high: float
    unit: str
    source: str
    spread: float = 0.0


@dataclass(frozen=True)
class Spread:
    """A device parameter: nominal value and its device-to-device standard deviation."""

    nominal: float
    sigma: float = 0.0


_evidence: dict[str, dict[str, Within]] = {}


def evidence(kind: type[Any]) -> dict[str, Within]:
    """Return the ranges of a record's parameters by name."""
    found = _evidence.get(kind.__name__)
    if found is None:
        hints = get_type_hints(kind, include_extras=True)
        extras = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
        found = _evidence[kind.__name__] = {name: extra[0] for name, extra in extras.items() if extra}
    return found


class Known:
    """A record that refuses values outside the evidence for them."""

    def __post_init__(self) -> None:
        for name, known in evidence(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                for number in value if isinstance(value, tuple) else (value,):
                    self._check(name, known, number)

    def _check(self, name: str, known: Within, value: float | Spread) -> None:
        nominal, sigma = (value.nominal, value.sigma) if isinstance(value, Spread) else (value, 0.0)
        if not known.low <= nominal <= known.high:
            what, given, low, high = name, nominal, known.low, known.high
        elif not 0.0 <= sigma <= known.spread:
            what, given, low, high = f"the spread of {name}", sigma, 0.0, known.spread
        else:
            return
        raise ValueError(
            f"{type(self).__name__}: {what} is {given:g}; known from {low:g} to {high:g} "
            f"{known.unit} ({known.source})"
        )


@dataclass(frozen=True)
class SwitchingParameters(Known):
    """SET and RESET of one Ta/TaOx/Pt device behind its access transistor (1T1M).

    Every pulse has an equilibrium conductance, the transistor's compliance for SET and an
    exponential in the device voltage for RESET, and moves the device a fraction towards it.
    """

    threshold: Annotated[
        Spread, Within(0.6, 1.0, "V", "fit to gate voltages at success; V_T of the transistor", 0.1)
    ] = Spread(0.785, 0.012)
    transconductance: Annotated[
        Spread, Within(300e-6, 1500e-6, "A/V²", "fit to gate voltages at success; sigma of ln K", 0.3)
    ] = Spread(731e-6, 0.05)
    compliance_volts: Annotated[
        Spread, Within(0.3, 0.6, "V", "fit to gate voltages at success; device voltage at compliance", 0.1)
    ] = Spread(0.45, 0.02)
    set_threshold: Annotated[
        Spread, Within(0.5, 2.0, "V", "fit to SET staircases; on-state device, 1 µs", 0.4)
    ] = Spread(1.05, 0.10)
    off_gap: Annotated[
        Spread, Within(0.0, 2.0, "V", "fit to first SET of off devices at 1.4-2.3 V; added when off", 0.6)
    ] = Spread(0.65, 0.25)
    off_gap_floor: Annotated[float, Within(0.0, 1.0, "V", "assumed: smallest off_gap of a device")] = 0.1
    set_softness: Annotated[float, Within(0.05, 1.0, "V", "fit to SET staircases")] = 0.30
    set_jitter: Annotated[
        float, Within(0.0, 0.25, "1", "bench: ±4-8 µS at 50-100 µS; at 50 µS, as 1/sqrt(G)")
    ] = 0.08
    set_width_shift: Annotated[
        float, Within(0.0, 0.3, "V/decade", "fit to SET at 1 ms and 0.1 µs; threshold by pulse width")
    ] = 0.17
    reset_reference: Annotated[
        Spread, Within(0.6, 1.5, "V", "fit to RESET staircases and the RESET-written state, 1 µs", 0.3)
    ] = Spread(0.95, 0.07)
    reset_steepness: Annotated[
        Spread, Within(2.0, 20.0, "1/V", "fit to the RESET-written state; sigma of ln kappa", 0.6)
    ] = Spread(9.5, 0.25)
    reset_us: Annotated[
        float, Within(20.0, 400.0, "µS", "fit to RESET staircases; equilibrium at the reference")
    ] = 100.0
    reset_ohms: Annotated[
        float, Within(0.0, 2000.0, "Ω", "fit: transistor 330 Ω and routing; divider of RESET")
    ] = 450.0
    reset_fraction: Annotated[
        float, Within(0.1, 1.0, "1", "fit to RESET staircases; of the way, per pulse")
    ] = 0.75
    reset_jitter: Annotated[
        float, Within(0.0, 0.5, "1", "fit to the RESET-written state; sigma of ln of the equilibrium")
    ] = 0.15
    reset_width_shift: Annotated[float, Within(0.0, 0.3, "V/decade", "assumed half of SET's")] = 0.08
    knee_us: Annotated[float, Within(1.0, 50.0, "µS", "assumed; above it a device counts as fully on")] = 5.0
    floor_us: Annotated[
        float, Within(0.001, 1.0, "µS", "Mao 2022: lowest conductance 17 nS; no healthy device goes below")
    ] = 0.02
    start_ln_us: Annotated[
        Spread, Within(-2.0, 5.0, "ln µS", "code of Mao 2022; state after characterisation", 2.0)
    ] = Spread(0.8, 1.1)
    slow_volts: Annotated[
        float, Within(0.0, 0.6, "V", "assumed from one bench device; slow devices RESET so much later")
    ] = 0.3
    slow_factor: Annotated[
        float, Within(1.0, 5.0, "1", "assumed from one bench device; and so many times less steeply")
    ] = 3.0


@dataclass(frozen=True)
class FluctuationParameters(Known):
    """Read-to-read noise: sigma(G) = exp(slope ln G + offset + spread z) µS, G in µS.

    z is a standard normal fixed per device: a noisy device stays noisy. With `telegraph_share`
    above 0, that share of the variance of the noisiest devices is a jump between two levels,
    drawn anew every `telegraph_ns` times a power of two of the device's own (up to 2**7).
    """

    on: bool = True
    slope: Annotated[float, Within(0.0, 1.5, "1", "code of Mao 2022: 4096 devices, 16 states, 5-50 µS")] = (
        0.782
    )
    offset: Annotated[
        float, Within(-5.0, -1.0, "ln µS", "fit to 10 000 bench reads; -2.168 in the code of Mao 2022")
    ] = -3.25
    spread: Annotated[float, Within(0.0, 1.5, "1", "code of Mao 2022; weight of z")] = 1.0
    saturation_us: Annotated[
        float, Within(10.0, 600.0, "µS", "code of Mao 2022; sigma grows no further above")
    ] = 50.0
    ceiling_us: Annotated[float, Within(1.0, 20.0, "µS", "code of Mao 2022; largest sigma")] = 20.0
    telegraph_share: Annotated[
        float, Within(0.0, 1.0, "1", "assumed; real parts show telegraph noise, its share is unknown")
    ] = 0.0
    telegraph_noisiness: Annotated[
        float, Within(0.0, 4.0, "1", "assumed; least z of devices with it: the noisiest 5 %")
    ] = 1.645
    telegraph_ns: Annotated[int, Within(1e6, 1e12, "ns", "assumed; shortest stay in a level")] = 10_000_000


@dataclass(frozen=True)
class RelaxationParameters(Known):
    """Drift of devices after an array's programming, growing with log time.

    It starts when the array has had no pulse for `onset_ns`: what is known begins at 1 s, and the
    amplitudes are fitted to errors of write-and-verify whose verify reads do not see it.

    sigma(G) is either wide + bump (amplitudes at 100 s) or, with `flat_us` given,
    `flat_us` outside 20-80 µS and `middle_us` inside.
    """

    on: bool = True
    wide_us: Annotated[
        float, Within(0.0, 15.0, "µS", "fit to sigma 3.894 µS of He 2026; above 10 µS, proportional below")
    ] = 1.7
    bump_us: Annotated[
        float, Within(0.0, 15.0, "µS", "fit to the same; Mao 2022: largest at 25-75 µS; at 50 µS")
    ] = 2.9
    flat_us: Annotated[float | None, Within(0.0, 15.0, "µS", "AutoXbar and TLSH, simulations: 5")] = None
    middle_us: Annotated[float, Within(0.0, 15.0, "µS", "AutoXbar and TLSH, simulations")] = 15.0
    at_one_second: Annotated[
        float, Within(0.0, 1.0, "1", "ratio of 1 s to 1 day in Wan 2022 (another process)")
    ] = 0.73
    per_decade: Annotated[float, Within(0.0, 0.5, "1/decade", "same")] = 0.135
    ceiling: Annotated[float, Within(0.5, 3.0, "1", "He 2026: stable to 1e5 s; scale at 1e5 s")] = 1.41
    onset_ns: Annotated[
        int, Within(1e9, 1e9, "ns", "Wan 2022 and He 2026 begin at 1 s; the age steps are multiples")
    ] = 1_000_000_000


@dataclass(frozen=True)
class OverdriveParameters(Known):
    """Too strong RESET: devices that stay off for ever, stuck-on ones that let go. Off by default."""

    on: bool = False
    stick_volts: Annotated[
        float, Within(2.0, 4.0, "V", "assumed; Mao 2022 tells the effect without a voltage")
    ] = 2.5
    stick_share: Annotated[float, Within(0.0, 0.1, "1", "assumed; per pulse above stick_volts")] = 1e-3
    free_volts: Annotated[float, Within(2.5, 4.0, "V", "bench: stuck-on parts let go at 2.8-3.1 V")] = 2.8
    freed_share: Annotated[float, Within(0.0, 1.0, "1", "assumed from a few bench parts")] = 0.5


@dataclass(frozen=True)
class WearParameters(Known):
    """What pulses do to a device in the long run; nothing of it is measured. Off by default.

    From `onset` pulses on, SET threshold and RESET reference rise by `drift_volts` per decade of
    pulses; at its own endurance a device sticks where it is.
    """

    on: bool = False
    onset: Annotated[float, Within(1e2, 1e8, "pulses", "assumed")] = 1e4
    drift_volts: Annotated[float, Within(0.0, 0.3, "V/decade", "assumed")] = 0.05
    endurance: Annotated[
        Spread, Within(1e3, 1e12, "pulses", "assumed; TaOx devices live for 1e6-1e12; sigma of ln", 2.0)
    ] = Spread(1e6, 0.5)


@dataclass(frozen=True)
class WireParameters(Known):
    """Resistances in the current path of a read, in Ω.

    Rows are driven at column 0, columns are read past the last row; one segment lies before
    the first cell of a row, between neighbouring cells, and after the last cell of a column.
    """

    on: bool = True
    segment_ohms: Annotated[float, Within(0.0, 5.0, "Ω", "AutoXbar 1, memNN 0.1; not measured")] = 1.0
    driver_ohms: Annotated[
        float, Within(0.0, 500.0, "Ω", "assumed; gives the slopes of 0.83-0.88 the bench corrects for")
    ] = 50.0
    tia_ohms: Annotated[float, Within(0.0, 250.0, "Ω", "assumed, with driver_ohms")] = 25.0
    transistor_ohms: Annotated[
        float, Within(0.0, 2000.0, "Ω", "fit: 150 µS alone reads 142.9 µS; at a gate of 5 V")
    ] = 330.0


@dataclass(frozen=True)
class ConverterParameters(Known):
    """Board DAC, row drivers, TIA and ADC.

    `zero_codes` is how far above the ADC's floor a TIA at VREF_TIA = 0.5 V sits.
    """

    row_bits: Annotated[int, Within(1, 8, "bits", "A0 board: 1; one DAC a row is assumed from He 2026")] = 1
    gain_ohms: Annotated[tuple[int, ...], Within(1e3, 1e6, "V/A", "A0 board")] = (
        1_000,
        5_000,
        30_000,
        200_000,
        1_000_000,
    )
    adc_codes: Annotated[int, Within(1024, 1024, "1", "A0 board: 10 bits in a 13-bit word")] = 1024
    floor_uv: Annotated[int, Within(4e5, 6e5, "µV", "A0 board; reads 0.5 V flat up to some 0.6 V")] = 500_000
    span_uv: Annotated[int, Within(3.4e6, 3.6e6, "µV", "A0 board: 0.5-4.0 V")] = 3_500_000
    zero_codes: Annotated[int, Within(0, 64, "codes", "choice of the native board")] = 16
    offset_lsb: Annotated[
        Spread,
        Within(
            -32.0, 32.0, "LSB", "bench: zero conductance reads -1.6 LSB; spread assumed; per column", 16.0
        ),
    ] = Spread(-1.6, 1.5)
    noise_lsb: Annotated[float, Within(0.0, 4.0, "LSB rms", "assumed")] = 0.7
    inl_lsb: Annotated[float, Within(0.0, 16.0, "LSB", "assumed; amplitude of the slow sine")] = 2.0
    flat_lsb: Annotated[
        int, Within(0, 32, "LSB", "bench: plateaus of some 0.1 V on first chips; 0 = none")
    ] = 0
    gain_error: Annotated[
        float, Within(0.0, 0.05, "1", "bench: tens of mV at full scale between ADCs; sigma")
    ] = 0.0
    rail_offset_uv: Annotated[
        int, Within(-200_000, 200_000, "µV", "A0 board: 78 mV; DAC outputs above nominal")
    ] = 0
    column_lsb: Annotated[
        tuple[float, ...], Within(-64.0, 64.0, "LSB", "a calibrated chip; column by column, for offset_lsb")
    ] = ()
    curve_lsb: Annotated[
        tuple[float, ...],
        Within(-64.0, 64.0, "LSB", "a calibrated chip; ADC by ADC at even steps, for inl_lsb and gain_error"),
    ] = ()


@dataclass(frozen=True)
class TimingParameters(Known):
    """How long the chip and its board take, in ns of simulated time."""

    settle_ns: Annotated[
        tuple[int, ...], Within(40, 10_000, "ns", "A0 board, sample counts at 50 MHz; per TIA gain")
    ] = (240, 240, 240, 500, 2_000)
    conversion_ns: Annotated[int, Within(100, 100_000, "ns", "bench; four ADCs work in parallel")] = 320
    word_ns: Annotated[int, Within(0, 100_000, "ns", "bench; one word out of a FIFO")] = 1_500
    pulse_setup_ns: Annotated[int, Within(0, 1e6, "ns", "bench; DAC settling before a pulse")] = 10_000
    pulse_switch_ns: Annotated[int, Within(0, 1e6, "ns", "bench; line switching around a pulse")] = 40_000
    timer_step_ns: Annotated[int, Within(20, 200, "ns", "A0 board; grid of the on-chip pulse timer")] = 20
    timer_limit_ns: Annotated[
        int, Within(5_080, 50_800, "ns", "A0 board; longer pulses on the 1 µs grid")
    ] = 5_080


@dataclass(frozen=True)
class EnergyParameters(Known):
    """What each action costs the chip, and what the board takes meanwhile."""

    conversion_fj: Annotated[
        int, Within(34_000, 500_000, "fJ", "assumed for a 5 V part; Accelergy at 180 nm: 34-60 pJ at best")
    ] = 100_000
    tia_uw: Annotated[int, Within(50, 5_000, "µW", "assumed: 5 V, 100 µA; settling and converting")] = 500
    row_fj: Annotated[int, Within(1_000, 10_000, "fJ", "assumed: 1-2 pF a line; per toggled driver")] = 3_000
    board_mw: Annotated[
        int, Within(100, 5_000, "mW", "assumed: PIC32MZ, DACs and USB, 100 mA of 5 V; board at work")
    ] = 500


@dataclass(frozen=True)
class FaultShares:
    """Shares of devices that ignore every pulse, and where they are stuck."""

    on: float = 0.0
    off: float = 0.0
    middle: float = 0.0
    slow: float = 0.0  # RESET later and less steeply; not stuck


@dataclass(frozen=True)
class ChipParameters:
    """One kind of chip: geometry and everything its behaviour depends on."""

    name: str
    arrays: int = 3
    rows: int = 64
    cols: int = 64
    switching: SwitchingParameters = field(default_factory=SwitchingParameters)
    fluctuation: FluctuationParameters = field(default_factory=FluctuationParameters)
    relaxation: RelaxationParameters = field(default_factory=RelaxationParameters)
    overdrive: OverdriveParameters = field(default_factory=OverdriveParameters)
    wear: WearParameters = field(default_factory=WearParameters)
    wires: WireParameters = field(default_factory=WireParameters)
    converters: ConverterParameters = field(default_factory=ConverterParameters)
    timing: TimingParameters = field(default_factory=TimingParameters)
    energy: EnergyParameters = field(default_factory=EnergyParameters)
    faults: FaultShares = field(default_factory=FaultShares)

    def __post_init__(self) -> None:
        if not 1 <= self.arrays <= 12:
            raise ValueError(f"a chip has 1 to 12 arrays, not {self.arrays}")
        if (self.rows, self.cols) != (64, 64):
            raise ValueError(f"arrays are 64×64 (drivers and FIFOs), not {self.rows}×{self.cols}")
        given = self.converters
        if len(given.column_lsb) not in (0, self.arrays * self.cols):
            raise ValueError(
                f"column_lsb is of {self.arrays * self.cols} columns, not {len(given.column_lsb)}"
            )
        if len(given.curve_lsb) not in (0, 4 * self.arrays * CURVE_POINTS):
            raise ValueError(f"curve_lsb has {CURVE_POINTS} points for each of {4 * self.arrays} ADCs")

    @property
    def devices(self) -> int:
        """Devices of one array."""
        return self.rows * self.cols

    @property
    def row_code_max(self) -> int:
        """Row code of the full read voltage: 1 for drivers of one bit."""
        return int((1 << self.converters.row_bits) - 1)


def records() -> tuple[type[Known], ...]:
    """Return the kinds of record whose values are checked, in order."""
    hints = get_type_hints(ChipParameters)
    kinds = [hints[item.name] for item in fields(ChipParameters)]
    return tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Known))

"""What one kind of virtual chip is made of: every number with its unit.

The values of the named kinds, and where each comes from, are in `sim_chip.presets`.
Voltages in V, resistances in Ω, conductances in µS where the name says so, times in ns.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spread:
    """A device parameter: nominal value and its device-to-device standard deviation."""

    nominal: float
    sigma: float = 0.0


@dataclass(frozen=True)
class SwitchingParameters:
    """SET and RESET of one Ta/TaOx/Pt device behind its access transistor (1T1M).

    Every pulse has an equilibrium conductance, the transistor's compliance for SET and an
    exponential in the device voltage for RESET, and moves the device a fraction towards it.
    """

    threshold: Spread = Spread(0.785, 0.012)  # V, transistor threshold V_T
    transconductance: Spread = Spread(731e-6, 0.05)  # A/V², K; sigma of ln K
    compliance_volts: Spread = Spread(0.45, 0.02)  # V, device voltage at compliance V_c
    set_threshold: Spread = Spread(1.05, 0.10)  # V, on-state device, 1 µs
    off_gap: Spread = Spread(0.65, 0.25)  # V, extra threshold when fully off
    off_gap_floor: float = 0.1  # V
    set_softness: float = 0.30  # V, v_s
    set_jitter: float = 0.08  # relative, at 50 µS; scales as 1/sqrt(G), within [0.02, 0.25]
    set_width_shift: float = 0.17  # V per decade of pulse width
    reset_reference: Spread = Spread(0.95, 0.07)  # V, V_R, 1 µs
    reset_steepness: Spread = Spread(9.5, 0.25)  # 1/V, kappa; sigma of ln kappa
    reset_us: float = 100.0  # µS, G_R
    reset_ohms: float = 450.0  # Ω in the RESET divider
    reset_fraction: float = 0.75  # of the way to equilibrium, per pulse
    reset_jitter: float = 0.15  # sigma of ln G_eq
    reset_width_shift: float = 0.08  # V per decade of pulse width
    knee_us: float = 5.0  # µS, above it a device counts as fully on
    floor_us: float = 0.02  # µS, no healthy device goes below
    start_ln_us: Spread = Spread(0.8, 1.1)  # ln(G/µS) of the state after characterisation


@dataclass(frozen=True)
class FluctuationParameters:
    """Read-to-read noise: sigma(G) = exp(slope ln G + offset + spread z) µS, G in µS.

    z is a standard normal fixed per device: a noisy device stays noisy.
    """

    on: bool = True
    slope: float = 0.782
    offset: float = -3.25
    spread: float = 1.0
    saturation_us: float = 50.0  # µS, sigma grows no further above
    ceiling_us: float = 20.0  # µS, largest sigma


@dataclass(frozen=True)
class RelaxationParameters:
    """Drift of devices after an array's programming, growing with log time.

    It starts when the array has had no pulse for `onset_ns`: what is known begins at 1 s, and the
    amplitudes are fitted to errors of write-and-verify whose verify reads do not see it.

    sigma(G) is either wide + bump (amplitudes at 100 s) or, with `flat_us` given,
    `flat_us` outside 20-80 µS and `middle_us` inside.
    """

    on: bool = True
    wide_us: float = 1.7  # µS above 10 µS, proportional below
    bump_us: float = 2.9  # µS at 50 µS
    flat_us: float | None = None
    middle_us: float = 15.0
    at_one_second: float = 0.73  # scale at 1 s
    per_decade: float = 0.135
    ceiling: float = 1.41
    onset_ns: int = 1_000_000_000


@dataclass(frozen=True)
class WireParameters:
    """Resistances in the current path of a read, in Ω.

    Rows are driven at column 0, columns are read past the last row; one segment lies before
    the first cell of a row, between neighbouring cells, and after the last cell of a column.
    """

    on: bool = True
    segment_ohms: float = 1.0
    driver_ohms: float = 50.0
    tia_ohms: float = 25.0
    transistor_ohms: float = 330.0  # access transistor at a gate of 5 V


@dataclass(frozen=True)
class ConverterParameters:
    """Board DAC, TIA and ADC.

    `zero_codes` is how far above the ADC's floor a TIA at VREF_TIA = 0.5 V sits.
    """

    gain_ohms: tuple[int, ...] = (1_000, 5_000, 30_000, 200_000, 1_000_000)
    adc_codes: int = 1024
    floor_uv: int = 500_000
    span_uv: int = 3_500_000
    zero_codes: int = 16
    offset_lsb: Spread = Spread(-1.6, 1.5)  # per column
    noise_lsb: float = 0.7  # rms
    inl_lsb: float = 2.0  # amplitude of the slow sine
    flat_lsb: int = 0  # width of the flat stretches of an uncorrected ADC; 0 = none
    gain_error: float = 0.0  # sigma of the relative gain error of a converter
    rail_offset_uv: int = 0  # what the board's DAC outputs sit above nominal


@dataclass(frozen=True)
class TimingParameters:
    """How long the chip and its board take, in ns of simulated time."""

    settle_ns: tuple[int, ...] = (240, 240, 240, 500, 2_000)  # settle and sample, per TIA gain
    conversion_ns: int = 320  # one ADC conversion; four ADCs of an array work in parallel
    word_ns: int = 1_500  # the microcontroller takes one word out of a FIFO
    pulse_setup_ns: int = 10_000  # DAC settling before a pulse
    pulse_switch_ns: int = 40_000  # line switching around a pulse
    timer_step_ns: int = 20  # grid of the on-chip pulse timer
    timer_limit_ns: int = 5_080  # longest chip-timed pulse; longer ones on the 1 µs grid


@dataclass(frozen=True)
class EnergyParameters:
    """What each action costs the chip."""

    conversion_fj: int = 100_000  # per ADC conversion
    tia_uw: int = 500  # per TIA, while settling and converting
    row_fj: int = 3_000  # per toggled row driver


@dataclass(frozen=True)
class FaultShares:
    """Shares of devices that ignore every pulse, and where they are stuck."""

    on: float = 0.0
    off: float = 0.0
    middle: float = 0.0
    slow: float = 0.0  # RESET three times less steep and 0.3 V later; not stuck


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

    @property
    def devices(self) -> int:
        """Devices of one array."""
        return self.rows * self.cols

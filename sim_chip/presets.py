"""Named kinds of virtual chip; `preset("good")` gives one.

Where the numbers come from:

* switching: fitted to bench data of 64×64 TaOx 1T1M chips (gate voltage at success 0.90, 1.15
  and 1.5 V for 10, 100 and 415 µS; RESET staircases; five 1.5 V, 20 ns RESET pulses leaving a
  lognormal state of median 2.2 µS and ln-sigma 1.1, Mao et al., Nat Commun 2022);
* fluctuation: form and slope of Mao et al.; the offset -3.25 fits 10 000 reads of a 0-100 µS
  gradient on the bench (sigma 0.65/1.09/2.4/4.7/7.0 µS at p50/75/90/95/99), -2.168 is the
  published one, about three times noisier;
* relaxation: amplitude fitted to a programming error of 3.894 µS (He et al., Nat Commun 2026),
  time scale as the ratio of the 1 s and 1 day tables of Wan et al. 2022; the pessimistic one
  (15 µS between 20 and 80 µS, 5 µS elsewhere) is what the group's own simulations assume;
* wires: 1 Ω per cell and line (AutoXbar); driver 50 Ω and TIA 25 Ω are assumed, they give the
  0.83-0.88 slope the bench corrects for; transistor 330 Ω at 5 V gate, fitted;
* converters: gains, 10 bits from 0.5 to 4.0 V and 13-bit words of the chip; column offsets of
  mean -1.6 LSB from zero-conductance readback, their spread, 0.7 LSB noise and ±2 LSB INL are
  assumed; flat stretches of some 0.1 V are what the first chips showed;
* row_dac: a good chip with an 8-bit DAC on every row, 0 to the read voltage (0.784 mV a step at
  0.2 V); assumed from the wording of He et al., the bench chip drives rows with one bit;
* faults: bench shares of good (0.25 % on, 0 % off) and of poor or fresh arrays (3.6-4.7 % on,
  4.7-6.8 % off);
* timing: bench round trips and register values; energy: 100 pJ per conversion, 0.5 mW per TIA
  and 3 pJ per row are engineering values for 180 nm at 5 V.
"""

from __future__ import annotations

from dataclasses import replace

from sim_chip.parameters import (
    ChipParameters,
    ConverterParameters,
    FaultShares,
    FluctuationParameters,
    RelaxationParameters,
    Spread,
    SwitchingParameters,
    WireParameters,
)

_NO_SPREAD = SwitchingParameters(
    threshold=Spread(0.785),
    transconductance=Spread(731e-6),
    compliance_volts=Spread(0.45),
    set_threshold=Spread(1.05),
    off_gap=Spread(0.65),
    set_jitter=0.0,
    reset_reference=Spread(0.95),
    reset_steepness=Spread(9.5),
    reset_jitter=0.0,
    start_ln_us=Spread(0.8),
)

GOOD = ChipParameters("good", faults=FaultShares(on=0.003, off=0.003, middle=0.002))
IDEAL = ChipParameters(
    "ideal",
    switching=_NO_SPREAD,
    fluctuation=FluctuationParameters(on=False),
    relaxation=RelaxationParameters(on=False),
    wires=WireParameters(False, 0.0, 0.0, 0.0, 0.0),
    converters=ConverterParameters(offset_lsb=Spread(0.0), noise_lsb=0.0, inl_lsb=0.0),
)
POOR = replace(GOOD, name="poor", faults=FaultShares(on=0.047, off=0.068, middle=0.01))
RAW = replace(
    POOR,
    name="raw",
    faults=FaultShares(on=0.047, off=0.068, middle=0.01, slow=0.05),
    converters=ConverterParameters(offset_lsb=Spread(-1.6, 8.0), inl_lsb=2.0, flat_lsb=30, gain_error=0.02),
)
PESSIMISTIC = replace(
    POOR,
    name="pessimistic",
    fluctuation=FluctuationParameters(offset=-2.168),
    relaxation=RelaxationParameters(flat_us=5.0),
)
MAO22 = replace(GOOD, name="mao22", arrays=6, fluctuation=FluctuationParameters(offset=-2.168))

ROW_DAC = replace(GOOD, name="row_dac", converters=ConverterParameters(row_bits=8))

PRESETS = {kind.name: kind for kind in (IDEAL, GOOD, POOR, RAW, PESSIMISTIC, MAO22, ROW_DAC)}


def preset(name: str) -> ChipParameters:
    """Return the kind of chip of that name; ValueError lists the names there are."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}") from None

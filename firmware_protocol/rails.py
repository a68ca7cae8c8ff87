"""The channels of the board's DAC, and the codes that limits leave to each."""

from enum import IntEnum
from typing import Final

from firmware_protocol.messages import Limits


class Rail(IntEnum):
    """Channels of the board's 16-channel DAC."""

    PLANE_VPP = 0
    """Drives selected rows in a read; the read voltage is `VREF_TIA` less this."""
    VREF_ARRAY = 1
    VREF_TIA = 2
    """Where the TIAs hold their columns."""
    VREF_HI_CMP = 3
    """Upper end of the ADCs' conversion window."""
    VREF_SH = 4
    """Bias of the sample-and-hold stages."""
    VP_PAD = 5
    """Pulse voltage."""
    TVDD = 6
    """Gates of the access transistors."""
    VAGC_0 = 7
    VAGC_1 = 8
    """TIA output above which automatic gain steps down."""
    ADC_TEST = 9
    """Test input of all ADCs."""
    AMP_VREF = 10
    AMP_INPUT = 11
    SPARE_12 = 12
    SPARE_13 = 13
    DRIVE_VN = 14
    SCHOTTKY = 15


class ProbePoint(IntEnum):
    """What the chip can route to its probe pad."""

    NONE = 0
    TIA_OUTPUT = 1
    """Of one column."""
    HELD_SAMPLE = 2
    """Behind the sample-and-hold of one column."""
    VREF_TIA = 3
    VREF_HI_CMP = 4


PULSE_RAILS: Final = (Rail.VP_PAD, Rail.TVDD)
"""What moves a device: needs the lease, and is zeroed first, in this order."""


def window(rail: Rail, limits: Limits) -> tuple[int, int]:
    """Lowest and highest code that `SetRail` may give a rail."""
    low, high = limits.rail_low_codes[rail], limits.rail_high_codes[rail]
    if rail is Rail.VP_PAD:
        return low, min(high, max(limits.set_code, limits.reset_code))
    if rail is Rail.TVDD:
        return low, min(high, limits.gate_code)
    return low, high

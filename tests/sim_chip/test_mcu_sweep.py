"""Staircases through the wire: the lease, the limits, and what a device shows and becomes."""

from dataclasses import replace

import numpy as np
import pytest

from firmware_protocol import bulk
from firmware_protocol import messages as m
from firmware_protocol.status import Status

GATE = 49151  # 5 V
GROUND = 32767
SWEEP = m.Sweep(0, m.SET, 2, 3, GATE, 1000, 0, 0)


def volts(*values):
    return np.array([int((value + 10) / 20 * 65535) for value in values])


def sized(host, request, codes):
    """The request for these codes, which are staged."""
    return replace(request, steps=codes.size, staged_crc=host.stage(bulk.pack_staircase(codes)))


def test_a_staircase_needs_the_lease(host):
    assert host.refused(sized(host, SWEEP, volts(0.1, 0.2))) is Status.NOT_ARMED


def test_a_word_per_step_holds_gain_and_code(host):
    host.arm()
    codes = np.repeat(volts(0.2), 300)
    data = host.fetch(sized(host, SWEEP, codes))
    found, gains = bulk.unpack_words(data, 300)
    assert len(data) == 600
    assert (gains <= 4).all()
    assert (found <= 1023).all()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"array": 3}, Status.BAD_ARGUMENT),
        ({"row": 64}, Status.BAD_ARGUMENT),
        ({"col": 64}, Status.BAD_ARGUMENT),
        ({"direction": 2}, Status.BAD_ARGUMENT),
        ({"gate_code": 65535}, Status.OVER_LIMIT),
        ({"dwell_ns": 30}, Status.BAD_ARGUMENT),
        ({"dwell_ns": 11_000_000}, Status.OVER_LIMIT),
    ],
)
def test_what_the_chip_has_not_or_the_limits_forbid_is_refused(host, change, status):
    host.arm()
    before = host.mcu.chip.conductance_units(0)
    assert host.refused(replace(sized(host, SWEEP, volts(0.5, 2.5)), **change)) is status
    assert (host.mcu.chip.conductance_units(0) == before).all()


@pytest.mark.parametrize("bad", [GROUND - 1, 65535])
def test_one_step_outside_the_limits_stops_all_of_it(host, bad):
    host.arm()
    before = host.mcu.chip.conductance_units(0)
    codes = np.array([*volts(2.0, 2.0), bad])
    assert host.refused(sized(host, SWEEP, codes)) is Status.OVER_LIMIT
    assert (host.mcu.chip.conductance_units(0) == before).all()


def test_no_step_and_other_bytes_than_staged_are_refused(host):
    host.arm()
    assert host.refused(sized(host, SWEEP, volts())) is Status.BAD_ARGUMENT
    request = sized(host, SWEEP, volts(0.1, 0.2))
    assert host.refused(replace(request, steps=3)) is Status.STAGING_INCOMPLETE


def test_only_the_device_named_changes(host):
    host.arm()
    before = host.mcu.chip.conductance_units(0)
    host.fetch(sized(host, SWEEP, volts(1.0, 2.0, 3.0)))
    changed = np.argwhere(host.mcu.chip.conductance_units(0) != before)
    assert changed.tolist() == [[2, 3]]

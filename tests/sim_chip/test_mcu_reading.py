"""Reads and products through the microcontroller, against what integers and Ohm's law say."""

from dataclasses import replace

import numpy as np
import pytest

from firmware_protocol import bulk
from firmware_protocol import messages as m
from firmware_protocol.status import Status
from sim_chip.chip import VirtualChip
from sim_chip.converters import column_order

LSB_AMPS_AT_1K = 3.5 / 1023 / 1000


def uniform(microsiemens):
    return np.full((3, 64, 64), microsiemens * 1e-6)


def code_of(microsiemens, ohms=30_000):
    """Zero at 16 codes, 1023 codes for 3.5 V, 0.2 V across the device."""
    return round(16 + microsiemens * 1e-6 * 0.2 * ohms / 3.5 * 1023)


def multiply(host, inputs, *, bits=1, signed=True, gain=0, least=None, reads=1, col=0, col_count=64):
    """Sums (vectors, cols), clipped flags, and the gain they are of."""
    least = gain if least is None else least
    request = m.Multiply(0, gain, least, reads, bits, int(signed), col, col_count, len(inputs), 0)
    crc = host.stage(bulk.pack_inputs(request, np.asarray(inputs)))
    return bulk.unpack_products(request, host.fetch(replace(request, staged_crc=crc)))


@pytest.mark.parametrize("microsiemens", [5, 50, 100, 150])
def test_a_device_reads_the_code_of_its_current(make_host, microsiemens):
    host = make_host(conductance=uniform(microsiemens))
    assert (host.read_sums(reads=3) == 3 * code_of(microsiemens)).all()


def test_a_rectangle_is_read_row_by_row(make_host):
    conductance = uniform(0)
    conductance[1] += np.arange(64 * 64).reshape(64, 64) % 128 * 1e-6
    sums = make_host(conductance=conductance).read_sums(array=1, row=3, row_count=2, col=60, col_count=3)
    assert sums[0] == pytest.approx([code_of(c) for c in (124, 125, 126)], abs=1)
    assert sums[1] == pytest.approx([code_of(c) for c in (60, 61, 62)], abs=1)


def test_automatic_gain_takes_the_highest_that_stays_below_its_threshold(make_host):
    conductance = uniform(1)
    conductance[0, :, 1] = 20e-6
    conductance[0, :, 2] = 100e-6
    host = make_host(conductance=conductance)
    data = host.fetch(m.ReadCells(0, m.AUTO_GAIN, 4, 0, 1, 0, 3))
    sums, gains = np.frombuffer(data[:6], "<u2"), list(data[6:])
    assert gains == [4, 3, 2]
    assert sums.tolist() == [4 * code_of(1, 1_000_000), 4 * code_of(20, 200_000), 4 * code_of(100)]


def test_a_signed_product_is_the_integer_product_to_within_its_conversions(make_host):
    rng = np.random.default_rng(1)
    host = make_host(conductance=rng.uniform(0, 150e-6, (3, 64, 64)))
    inputs = rng.integers(-15, 16, (20, 64))
    sums, flags, _ = multiply(host, inputs, bits=4)
    exact = inputs @ host.mcu.chip.conductance(0) * 0.2 / LSB_AMPS_AT_1K
    # Eight conversions, each half a code off at most, weighted 1, 2, 4, 8 in both phases
    assert np.abs(sums - exact).max() <= 0.5 * 2 * 15
    assert not flags.any()


def test_a_product_is_the_weighted_sum_of_the_chips_own_bit_planes(make_host):
    rng = np.random.default_rng(2)
    inputs = rng.integers(-3, 4, (5, 64))
    options = {"kind": "good", "seed": 4}
    sums, _, _ = multiply(make_host(**options), inputs, bits=2, reads=2, col=7, col_count=9)
    host = make_host(**options)
    expected = _planes(host.mcu.chip, inputs)[:, 7:16]
    assert sums.tolist() == expected.tolist()


def _planes(chip: VirtualChip, inputs):
    chip.power_up()
    chip.set_gain(0, 0)
    wanted = np.zeros(64, np.uint8)
    wanted[7:16] = 1
    total = np.zeros((len(inputs), 64), int)
    for sign in (1, -1):
        for bit in range(2):
            plane = (np.maximum(sign * inputs, 0) >> bit) & 1
            for words in chip.multiply(0, np.tile(plane, (2, 1)), wanted).reshape(2, -1, 64):
                total += sign * 2**bit * (words[:, column_order(0)].astype(int) & 1023)
    return total


def test_an_unsigned_product_of_nothing_is_the_zero_code_of_every_bit(host):
    sums, _, _ = multiply(host, np.zeros((2, 64)), bits=3, signed=False)
    assert (sums == 16 * (1 + 2 + 4)).all()


def test_conversions_at_the_end_of_the_scale_are_flagged(make_host):
    conductance = uniform(0)
    conductance[0, :, 5] = 150e-6
    _, flags, gain = multiply(make_host(conductance=conductance), np.ones((1, 64)), gain=2)
    assert (np.flatnonzero(flags[0]).tolist(), gain) == ([5], 2)


@pytest.mark.parametrize("driven", [1, 12, 64])
def test_automatic_gain_of_products_ends_at_the_most_sensitive_that_fits(make_host, driven):
    """The sums and the noise are those of asking gain by gain."""
    conductance = uniform(30)
    inputs = np.zeros((3, 64), int)
    inputs[:, :driven] = 1
    options = {"kind": "good", "seed": 4, "conductance": conductance}
    by_hand = make_host(**options)
    for gain in range(4, -1, -1):
        wanted = multiply(by_hand, inputs, gain=gain, reads=4)
        if not wanted[1].any():
            break
    found = multiply(make_host(**options), inputs, gain=4, least=0, reads=4)
    assert found[0].tolist() == wanted[0].tolist()
    assert found[2] == wanted[2] == {1: 3, 12: 2, 64: 1}[driven]


def test_gain_is_not_lowered_below_the_least_that_is_allowed(make_host):
    host = make_host(conductance=uniform(100))
    _, flags, gain = multiply(host, np.ones((1, 64), int), gain=4, least=3)
    assert (flags.all(), gain) == (True, 3)


@pytest.mark.parametrize(
    "request_",
    [
        m.ReadCells(3, 2, 1, 0, 1, 0, 1),
        m.ReadCells(0, 5, 1, 0, 1, 0, 1),
        m.ReadCells(0, 2, 0, 0, 1, 0, 1),
        m.ReadCells(0, 2, 65, 0, 1, 0, 1),
        m.ReadCells(0, 2, 1, 60, 5, 0, 1),
        m.ReadCells(0, 2, 1, 0, 1, 0, 0),
        m.Multiply(0, m.AUTO_GAIN, 0, 1, 1, 0, 0, 64, 1, 0),
        m.Multiply(0, 1, 2, 1, 1, 0, 0, 64, 1, 0),
        m.Multiply(0, 0, 0, 1, 16, 0, 0, 64, 1, 0),
        m.Multiply(0, 0, 0, 1, 1, 0, 0, 64, 0, 0),
        m.GetPlanted(3),
    ],
    ids=lambda request: str(request)[:60],
)
def test_what_the_chip_does_not_have_is_refused(host, request_):
    assert host.refused(request_) is Status.BAD_ARGUMENT


def test_an_input_outside_its_bits_is_refused(host):
    crc = host.stage(bytes([4] * 64))
    assert host.refused(m.Multiply(0, 0, 0, 1, 2, 1, 0, 64, 1, crc)) is Status.BAD_ARGUMENT


def test_inputs_that_were_not_staged_whole_are_refused(host):
    crc = host.stage(bytes(64))
    assert host.refused(m.Multiply(0, 0, 0, 1, 1, 0, 0, 64, 2, crc)) is Status.STAGING_INCOMPLETE
    assert host.refused(m.Multiply(0, 0, 0, 1, 1, 0, 0, 64, 1, crc ^ 1)) is Status.STAGING_INCOMPLETE


def test_a_result_larger_than_the_buffer_is_refused(host):
    assert host.refused(m.Multiply(0, 0, 0, 1, 1, 0, 0, 64, 4000, 0)) is Status.TOO_LARGE


def test_staging_ends_before_a_hole_and_offset_0_begins_anew(host):
    assert host.ask(m.Stage(0, b"abc")).filled == 3
    assert host.ask(m.Stage(5, b"xyz")).filled == 3
    assert host.ask(m.Stage(2, b"CDE")).filled == 5
    assert host.ask(m.Stage(2, b"CDE")).filled == 5
    assert host.ask(m.Stage(0, b"q")).filled == 1
    assert host.refused(m.Stage(2**31, b"q")) is Status.TOO_LARGE


def test_the_book_counts_reads_and_products(host):
    host.read_sums(reads=2, row_count=2)
    multiply(host, np.ones((3, 64)), bits=2)
    book = host.ask(m.GetBook())
    assert (book.reads, book.products) == (2 * 64 * 2, 3 * 2 * 2)
    assert book.clock_ns > 0
    assert all(book.energy_fj[:4])
    assert all(book.time_ns[:3])
    assert sum(book.time_ns) == book.clock_ns
    # Half a watt of the board for as long as it was at work, apart from the chip's own
    assert book.energy_fj[6] == 500_000 * book.clock_ns
    host.ask(m.Wait(1000))
    assert host.ask(m.GetBook()).energy_fj[6] == book.energy_fj[6]


def test_a_wait_moves_the_chips_clock_by_just_that(host):
    before = host.ask(m.GetBook()).clock_ns
    assert host.ask(m.Wait(2500)).clock_ns == before + 2_500_000_000


def test_planted_faults_are_told_with_their_conductances(make_host):
    host = make_host("poor", seed=3)
    data = host.fetch(m.GetPlanted(2))
    kinds, conductance = host.mcu.chip.planted(2)
    assert data[:4096] == kinds.tobytes()
    assert np.frombuffer(data[4096:], "<i4").tolist() == conductance.ravel().tolist()


def test_info_says_what_the_chip_is(host):
    info = host.ask(m.GetInfo())
    assert (info.arrays, info.rows, info.cols, info.input_bits) == (3, 64, 64, 1)
    assert info.gain_ohms == (1_000, 5_000, 30_000, 200_000, 1_000_000, 0, 0, 0)
    assert (info.adc_bits, info.adc_min_uv, info.adc_max_uv, info.zero_codes) == (10, 500_000, 4_000_000, 16)

"""Arrays of numbers lie in the buffers as the messages' docstrings say, and come back as they were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol import bulk
from firmware_protocol.messages import AUTO_GAIN, Multiply, ReadCells
from firmware_protocol.wire import WireError


def product(bits=1, reads=1, vectors=2, cols=3):
    return Multiply(0, 0, 0, reads, bits, 1, 0, cols, vectors, 0)


def test_inputs_of_up_to_seven_bits_take_a_byte_each():
    assert bulk.pack_inputs(product(7), np.array([[1, -127]])) == bytes.fromhex("0181")
    assert bulk.pack_inputs(product(8), np.array([[1, -255]])) == bytes.fromhex("010001ff")


def test_sums_take_two_bytes_where_the_largest_fits_and_flags_a_bit():
    sums, clipped = np.array([[1, -2, 3], [4, 5, -6]]), np.eye(2, 3, dtype=bool)

    assert bulk.pack_products(product(1, 32), sums, clipped, 3).hex() == "0100feff030004000500faff1103"
    assert len(bulk.pack_products(product(1, 33), sums, clipped, 3)) == 4 * 6 + 2


def test_gains_follow_the_sums_only_when_the_chip_chose_them():
    sums, gains = np.array([[1, 300]]), np.array([[4, 2]])

    assert bulk.pack_cells(ReadCells(0, 2, 1, 0, 1, 0, 2), sums, gains).hex() == "01002c01"
    assert bulk.pack_cells(ReadCells(0, AUTO_GAIN, 1, 0, 1, 0, 2), sums, gains).hex() == "01002c010402"


@given(st.integers(1, 15), st.integers(1, 64), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32))
def test_products_come_back_as_they_were(bits, reads, vectors, cols, seed):
    request, rng = product(bits, reads, vectors, cols), np.random.default_rng(seed)
    most = 1023 * reads * (2**bits - 1)
    sums = rng.integers(-most, most + 1, (vectors, cols))
    clipped = rng.random((vectors, cols)) < 0.5

    data = bulk.pack_products(request, sums, clipped, 4)
    again = bulk.unpack_products(request, data)

    assert len(data) == bulk.products_bytes(request)
    np.testing.assert_array_equal(again[0], sums)
    np.testing.assert_array_equal(again[1], clipped)
    assert again[2] == 4


@given(st.integers(1, 100), st.integers(0, 2**32))
def test_a_plan_comes_back_as_it_was(devices, seed):
    rng = np.random.default_rng(seed)
    mask, targets = rng.random(devices) < 0.5, rng.integers(0, 65536, devices)

    expected = np.sort(rng.integers(0, 65536, 7))

    data = bulk.pack_plan(mask, targets, expected)

    assert len(data) == bulk.plan_bytes(devices, 7)
    plan = bulk.unpack_plan(data, devices, predicts=True)
    for found, wanted in zip(plan, (mask, targets, expected), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_bytes_that_are_too_few_are_refused():
    with pytest.raises(WireError, match="too few"):
        bulk.unpack_plan(bytes(3), 8)

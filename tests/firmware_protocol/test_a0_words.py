"""Words, registers and payloads of the A0 board are those of its firmware."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_protocol import a0_words as w
from firmware_protocol.a0_wire import A0Error


def test_the_dac_words_are_the_boards():
    assert w.dac_word(w.Operation.SPAN_ALL, 0, w.SPAN) == 0x00E00003
    assert w.dac_word(w.Operation.WRITE_AND_UPDATE, 5, w.ZERO_CODE) == 0x00357FFF
    with pytest.raises(A0Error):
        w.dac_word(w.Operation.WRITE_AND_UPDATE, 16, 0)


@pytest.mark.parametrize(
    ("volts", "code"),
    [(-10, 0), (0, 32767), (0.2, 33422), (0.3, 33750), (0.5, 34405), (1.0, 36044), (2.5, 40959), (5, 49151)],
)
def test_output_codes_are_the_published_ones(volts, code):
    assert w.output_code(volts) == code


def test_an_output_beyond_the_span_is_refused():
    with pytest.raises(A0Error):
        w.output_code(10.1)


def test_every_row_and_column_has_a_place_of_its_own():
    assert len({w.row_place(line) for line in range(64)}) == 64
    assert len({w.column_place(line) for line in range(64)}) == 64
    assert w.banks(range(64), columns=True) == (0xFFFF,) * 4
    assert w.banks([0, 17], columns=False) == (1 << 8, 0, 1, 0)


@given(st.lists(st.lists(st.booleans(), min_size=64, max_size=64), min_size=1, max_size=5))
def test_bit_i_of_a_big_endian_vector_is_row_i(vectors):
    payload = w.pack_vectors(vectors)
    numbers = [int.from_bytes(payload[at : at + 8], "big") for at in range(0, len(payload), 8)]
    assert [[bool(number >> row & 1) for row in range(64)] for number in numbers] == vectors
    assert w.unpack_vectors(payload).astype(bool).tolist() == vectors


@given(st.lists(st.integers(0, 1023), min_size=96, max_size=96))
def test_tia_words_are_ten_bits_each_the_highest_first(words):
    payload = w.pack_tia_words(words)
    assert int.from_bytes(payload, "big") == sum(
        word << 10 * place for place, word in enumerate(reversed(words))
    )
    assert w.unpack_tia_words(payload).tolist() == words


def test_the_control_chain_is_that_of_a_chip_timed_write():
    control = w.Control(0x80, 0x01, 0x0C, 0x10, 0x20, 0x01, 51)
    assert control.pack() == bytes([0x80, 0x01, 0x0C, 0x10, 0x20, 0x01, 51])
    assert w.Control.unpack(control.pack()) == control
    with pytest.raises(A0Error):
        w.Control(write_end=256).pack()


def test_codes_of_a_batch_are_little_endian():
    codes = np.arange(128).reshape(2, 64) + 0x1200
    payload = w.pack_codes(codes)
    assert payload[:4] == b"\x00\x12\x01\x12"
    assert np.array_equal(w.unpack_codes(payload), codes)
    with pytest.raises(A0Error):
        w.pack_codes(np.full((2, 64), 65536))


def test_a_clock_is_two_hundred_megahertz_by_twice_its_divider():
    assert w.clock_hertz(w.BOOT_DIVIDER) == 5e6
    assert w.clock_hertz(2) == 50e6

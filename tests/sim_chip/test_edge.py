"""The chip's edge: vector registers, TIA words, FIFOs; what they give is what the batch calls give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_chip import AUTO_GAIN, EnergyCause, FaultPlan, TimeCause, VirtualChip, fifos, preset, registers
from sim_chip.parameters import FluctuationParameters
from sim_chip.tias import GAIN_WORDS

GOOD = preset("good")
few = settings(max_examples=15, deadline=None)
lines = st.lists(st.booleans(), min_size=64, max_size=64)
words_of_columns = st.lists(st.sampled_from((*GAIN_WORDS, 0, 0b0111100001)), min_size=64, max_size=64)
ROWS, COLS = np.divmod(np.arange(4096), 64)
FLAT = np.full((3, 64, 64), 20e-6)


def in_fifos(chip: VirtualChip, array: int) -> np.ndarray:
    return np.array([chip.fifo(number) for number in fifos(array)])


@pytest.mark.parametrize(
    ("row", "place"),
    [(0, (2, 0)), (15, (2, 15)), (16, (0, 0)), (31, (0, 15)), (32, (1, 7)), (33, (1, 15)), (63, (3, 8))],
)
def test_rows_lie_in_the_banks_of_the_real_chip(row: int, place: tuple[int, int]) -> None:
    assert registers.row_place(row) == place


@pytest.mark.parametrize(
    ("col", "place"), [(0, (0, 15)), (1, (1, 15)), (30, (0, 0)), (31, (1, 0)), (32, (2, 0)), (63, (3, 15))]
)
def test_columns_lie_in_the_banks_of_the_real_chip(col: int, place: tuple[int, int]) -> None:
    assert registers.column_place(col) == place


def test_a_bank_latched_as_wired_selects_its_lines() -> None:
    chip = VirtualChip(GOOD)
    chip.latch(1, 0xFFFF, 0b1111, columns=False)
    chip.latch(1, 0, 0b0101, columns=False)
    rows, columns = chip.selected(1)
    # banks 0 and 2 hold rows 16-31 and 0-15
    assert np.flatnonzero(rows).tolist() == list(range(32, 64))
    assert not columns.any()


@few
@given(st.integers(0, 2**63), lines, lines, st.sampled_from([0, 2, 4, AUTO_GAIN]), st.integers(0, 2))
def test_products_by_the_registers_are_those_of_the_batch_call(
    seed: int, rows: list[bool], columns: list[bool], gain: int, array: int
) -> None:
    by_registers, at_once = (VirtualChip(GOOD, seed) for _ in range(2))
    by_registers.set_gain(array, gain)
    at_once.set_gain(array, gain)
    by_registers.load_rows(array, rows)
    by_registers.load_columns(array, columns)
    left = []
    for _ in range(3):
        by_registers.convert(array)
        left.append(in_fifos(by_registers, array))
    assert np.array_equal(left, at_once.multiply(array, np.tile(rows, (3, 1)), columns))
    assert by_registers.book.energies() == at_once.book.energies()
    assert by_registers.clock_ns == at_once.clock_ns


@few
@given(st.integers(0, 2**63), st.integers(0, 63), st.integers(0, 63))
def test_a_read_by_the_registers_is_one_of_the_batch_call(seed: int, row: int, col: int) -> None:
    by_registers, at_once = (VirtualChip(GOOD, seed) for _ in range(2))
    by_registers.load_rows(2, np.arange(64) == row)
    by_registers.load_columns(2, np.arange(64) == col)
    by_registers.convert(2, float_rows=True)
    number, word = by_registers.fifo_address(2, col)
    assert by_registers.fifo(number)[word] == at_once.read_cells(2, row, col)[0, 0]
    assert by_registers.book.energies() == at_once.book.energies()


def test_floating_rows_under_a_whole_product_are_refused() -> None:
    chip = VirtualChip(GOOD)
    chip.load_rows(0, np.ones(64))
    chip.load_columns(0, np.ones(64))
    with pytest.raises(ValueError, match="floating rows: not modelled"):
        chip.convert(0, float_rows=True)


@few
@given(st.integers(0, 2**63), words_of_columns)
def test_each_column_reads_and_multiplies_at_its_own_gain(seed: int, words: list[int]) -> None:
    """As on chips of one gain each, column by column; where an enable is off the code is 0."""
    mixed = VirtualChip(GOOD, seed)
    mixed.load_tia(1, words)
    bits = np.random.default_rng(seed).integers(0, 2, (5, 64))
    products = mixed.multiply(1, bits).reshape(5, 64)[:, mixed.column_order(1)]
    reads = mixed.read_cells(1, ROWS[:130], COLS[:130], 2)
    for word in set(words):
        gain = GAIN_WORDS.index(word) if word in GAIN_WORDS else None
        same = VirtualChip(GOOD, seed)
        same.set_gain(1, gain or 0)
        expected = same.multiply(1, bits).reshape(5, 64)[:, same.column_order(1)]
        alone = same.read_cells(1, ROWS[:130], COLS[:130], 2)
        if gain is None:
            expected, alone = np.zeros_like(expected), np.zeros_like(alone)
        chosen = np.flatnonzero(np.array(words) == word)
        assert np.array_equal(products[:, chosen], expected[:, chosen])
        of_these = np.isin(COLS[:130], chosen)
        assert np.array_equal(reads[of_these], alone[of_these])


@few
@given(st.integers(0, 2**63), words_of_columns, st.booleans())
def test_reads_at_mixed_gains_one_by_one_are_those_of_a_batch(
    seed: int, words: list[int], automatic: bool
) -> None:
    noise = FluctuationParameters(telegraph_share=0.7)
    together, apart = (VirtualChip(replace(GOOD, fluctuation=noise), seed) for _ in range(2))
    for chip in (together, apart):
        chip.load_tia(0, words, automatic=automatic)
    single = [apart.read_cells(0, r, c, 2)[0] for r, c in zip(ROWS[:70], COLS[:70], strict=True)]
    assert np.array_equal(together.read_cells(0, ROWS[:70], COLS[:70], 2), single)
    assert together.book.energies() == apart.book.energies()
    assert together.book.times() == apart.book.times()


def test_automatic_gain_steps_down_from_the_word_that_was_loaded() -> None:
    chip = VirtualChip(preset("ideal"), conductance=FLAT)
    chip.load_tia(0, [GAIN_WORDS[1 + col % 4] for col in range(64)], automatic=True)
    found = chip.read_cells(0, 0, np.arange(64))[:, 0] >> 10
    # 4 µA: 3.5 V full scale is 0.7 mA, 117 µA, 17.5 µA, 3.5 µA
    assert found.tolist() == [1, 2, 3, 3] * 16


def test_columns_that_are_off_cost_nothing_and_the_slowest_gain_sets_the_time() -> None:
    chip = VirtualChip(preset("ideal"), conductance=FLAT)
    chip.load_tia(0, [GAIN_WORDS[3] if col < 16 else 0 for col in range(64)])
    chip.multiply(0, np.ones((1, 64)))
    assert chip.book.time_ns[TimeCause.SETTLE] == 500
    assert chip.book.energy_aj[EnergyCause.ADC] == 16 * 100_000_000


@pytest.mark.parametrize("word", [0b1100000011, 0b1100000000, 1 << 10])
def test_words_nobody_knows_the_effect_of_are_refused(word: int) -> None:
    with pytest.raises(ValueError, match="TIA word"):
        VirtualChip(GOOD).load_tia(0, np.full(64, word))


def test_registers_words_and_fifos_survive(tmp_path: Path) -> None:
    chip = VirtualChip(GOOD, 5, faults=FaultPlan())
    chip.load_tia(0, [GAIN_WORDS[col % 5] for col in range(64)])
    chip.load_rows(0, np.arange(64) % 3 == 0)
    chip.load_columns(0, np.arange(64) % 2 == 0)
    chip.convert(0)
    chip.save(tmp_path / "state")
    again = VirtualChip.restore(tmp_path / "state")
    assert np.array_equal(in_fifos(again, 0), in_fifos(chip, 0))
    for each in (chip, again):
        each.convert(0)
    assert np.array_equal(in_fifos(again, 0), in_fifos(chip, 0))
    assert np.array_equal(again.tia(0), chip.tia(0))

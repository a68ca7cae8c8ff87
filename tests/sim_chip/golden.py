"""A fixed run of a chip with solved wires; prints the hash of every word it answered."""

from __future__ import annotations

import hashlib

import numpy as np

from sim_chip import AUTO_GAIN, VirtualChip, dac_code, preset


def transcript(kind: str) -> str:
    """Return the hash of all words and final conductances of a fixed run."""
    seen = hashlib.sha256()
    chip = VirtualChip(preset(kind), 20260101)
    rows, cols = np.divmod(np.arange(4096), 64)
    counter = np.arange(70 * 64).reshape(70, 64)
    bits = (counter * 2654435761 >> 13) & 1
    for step in range(4):
        gate = [dac_code(0.9 + 0.001 * (n % 400)) for n in range(4096)]
        chip.pulse(1, rows, cols, 1, dac_code(2.0 + 0.2 * step), gate, 1000)
        chip.pulse(1, rows[::3], cols[::3], 0, dac_code(1.0 + 0.1 * step), dac_code(5.0), 5000)
        chip.pulse(1, rows[::7], cols[::7], 0, dac_code(1.5), dac_code(5.0), 20, count=5)
        for gain in (0, 2, 4, AUTO_GAIN):
            chip.set_gain(1, gain)
            seen.update(chip.read_cells(1, rows, cols).tobytes())
            seen.update(chip.multiply(1, bits).tobytes())
        chip.advance(10 ** (8 + step))
        seen.update(chip.planted(1)[1].tobytes())
    seen.update(chip.book.energy_aj.tobytes())
    return seen.hexdigest()


if __name__ == "__main__":
    for name in ("good", "raw"):
        print(name, transcript(name))  # noqa: T201

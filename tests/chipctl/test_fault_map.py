"""What a fault map keeps in a file, and how two of them are compared."""

from dataclasses import replace

import numpy as np
import pytest

from chipctl.fault_map import DeadLine, FaultKind, FaultMap, LineKind, fault_changes
from chipctl.profile import ChipProfile


def stuck_at(places):
    """`{(row, col): (siemens, uncertainty)}` as a map of 4×4 devices."""
    faults = FaultMap.none(4, 4)
    for place, (value, sigma) in places.items():
        faults.kinds[place], faults.conductance[place] = FaultKind.STUCK_BETWEEN, value
        faults.uncertainty[place] = sigma
    return faults


def test_new_healed_and_changed_devices_are_told_apart():
    before = stuck_at({(0, 0): (40e-6, 1e-6), (1, 1): (40e-6, 1e-6), (2, 2): (40e-6, 1e-6)})
    after = stuck_at({(0, 0): (44e-6, 1e-6), (1, 1): (45e-6, 1e-6), (3, 3): (70e-6, 1e-6)})
    changes = fault_changes(before, after)
    assert np.argwhere(changes.new).tolist() == [[3, 3]]
    assert np.argwhere(changes.healed).tolist() == [[2, 2]]
    assert np.argwhere(changes.changed).tolist() == [[1, 1]]  # 5 µS: more than 3 √2 of 1 µS


def test_what_lies_on_a_line_that_is_dead_now_or_was_is_no_change_of_a_device():
    line = DeadLine(kind=LineKind.ROW, lines=(2,))
    before, after = stuck_at({(2, 1): (40e-6, 1e-6)}), FaultMap.none(4, 4)
    after.kinds[2] = FaultKind.DEAD_LINE
    changes = fault_changes(before, replace(after, lines=(line,)))
    assert changes.counts() == {"new": 0, "healed": 0, "changed": 0, "new_lines": 1, "healed_lines": 0}


def test_a_map_comes_back_from_its_file_with_lines_flags_and_uncertainties(tmp_path):
    profile = ChipProfile.nominal("a", 2, 4, 4)
    faults = replace(
        stuck_at({(1, 1): (40e-6, np.nan), (0, 3): (2e-6, 3e-8)}),
        lines=(DeadLine(kind="column", lines=(2,)),),
    )
    faults.kinds[:, 2], faults.conductance[:, 2] = FaultKind.DEAD_LINE, 0.0
    faults.noisy[3, 3] = faults.slow[0, 1] = True
    profile.set_fault_map(1, faults)
    profile.save(tmp_path / "chip.json")

    again = ChipProfile.load(tmp_path / "chip.json").fault_map(1)

    for name in ("kinds", "conductance", "uncertainty", "noisy", "slow", "lines"):
        np.testing.assert_array_equal(getattr(again, name), getattr(faults, name))


@pytest.mark.parametrize(
    "faulty",
    [
        {"stuck": [{"row": 4, "col": 0, "kind": 1, "siemens": 0}]},
        {"noisy": [[0, 4]]},
        {"dead_lines": [{"kind": "row", "lines": [4]}]},
    ],
)
def test_a_fault_outside_the_array_is_refused(faulty):
    profile = ChipProfile.nominal("a", 1, 4, 4).model_dump(mode="json")
    profile["arrays"]["0"] |= faulty
    with pytest.raises(ValueError, match="outside 4x4"):
        ChipProfile.model_validate(profile)

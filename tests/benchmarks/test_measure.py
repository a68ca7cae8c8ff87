"""What the lines of a benchmark say, and what its exit status says of them."""

import json
import subprocess
import sys

import pytest

from benchmarks.measure import ANY, Bound, Measured, at_least, at_most, cpu_side_by_side, exit_status

HOLDS = Measured("a", "µs", at_most(4), (2.0,))
FAILS = Measured("b", "×", at_least(5), (4.9,))
ABSENT = Measured("c", "×", at_least(60), reason="no checkout")


@pytest.mark.parametrize(
    ("lines", "status"),
    [([HOLDS], 0), ([HOLDS, ABSENT], 3), ([ABSENT, FAILS, HOLDS], 1), ([], 0)],
)
def test_a_failure_weighs_more_than_what_was_not_measured(lines, status):
    assert exit_status(lines) == status


def test_a_line_is_a_record_of_value_and_bound():
    assert HOLDS.record() == {"name": "a", "value": 2.0, "unit": "µs", "bound": "<= 4", "holds": True}
    assert ABSENT.record()["holds"] is None
    assert ABSENT.record()["reason"] == "no checkout"
    assert json.loads(json.dumps(FAILS.record()))["holds"] is False


def test_every_seed_must_lie_in_the_band():
    band = Bound(1, 3)
    assert Measured("d", "", band, (1.0, 3.0)).holds is True
    assert Measured("d", "", band, (1.0, 2.0, 3.1)).holds is False
    assert Measured("d", "", band, (1.0, 2.0)).value == 1.5


def test_what_has_no_bound_always_holds():
    assert Measured("e", "", ANY, (-1e9,)).holds is True


def test_a_call_that_works_longer_takes_more_cpu_time():
    work = {n: lambda n=n: sum(range(n)) for n in (10_000, 400_000)}
    taken = cpu_side_by_side({str(n): call for n, call in work.items()}, samples=5)
    assert taken["400000"] > 5 * taken["10000"]


def test_an_unknown_subject_is_refused(repository):
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "acceptance" in done.stderr

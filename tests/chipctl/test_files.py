"""Files that people hand in or get: settings, profiles, maps. Bad ones are named, none is half-written."""

import numpy as np
import pytest

from chipctl.files import replace_file
from chipctl.profile import ChipProfile, FaultKind, FaultMap
from chipctl.settings import Settings
from chipctl.tables import load_map, to_csv, to_npy


def test_a_profile_survives_its_file(tmp_path):
    profile = ChipProfile.nominal("A7", 3, 64, 64)
    faults = FaultMap.none(64, 64)
    faults.kinds[3, 5], faults.conductance[3, 5] = FaultKind.STUCK_HIGH, 301.5e-6
    profile.set_fault_map(1, faults)
    profile.save(tmp_path / "chip.json")

    again = ChipProfile.load(tmp_path / "chip.json").fault_map(1)

    np.testing.assert_array_equal(again.kinds, faults.kinds)
    np.testing.assert_array_equal(again.conductance, faults.conductance)


def test_a_file_that_is_no_profile_says_how_to_make_one(tmp_path):
    (tmp_path / "chip.json").write_text("{}")
    with pytest.raises(ValueError, match="chipctl scan"):
        ChipProfile.load(tmp_path / "chip.json")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "old").write_text("old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))

    with pytest.raises(OSError, match="disk full"):
        replace_file(tmp_path / "old", b"new")

    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[programming]\ntolerence = 5e-6", "programming.tolerence"),
        ("[programming]\ntolerance = -1", "programming.tolerance"),
        ("[programming]\nset_volts = {first = 2.0, last = 1.0, step = 0.1}", "must rise"),
        ("[programming", "no TOML"),
    ],
)
def test_wrong_settings_are_refused_by_name(tmp_path, text, named):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ValueError, match=named):
        Settings.load(tmp_path / "s.toml")


def test_settings_not_named_keep_their_defaults(tmp_path):
    (tmp_path / "s.toml").write_text("[programming]\nreads = 8")
    assert Settings.load(tmp_path / "s.toml").programming.model_dump() == (
        Settings().programming.model_dump() | {"reads": 8}
    )


@pytest.mark.parametrize(("suffix", "write"), [(".npy", to_npy), (".csv", to_csv)])
def test_a_map_survives_its_file_to_the_bit(tmp_path, suffix, write):
    values = np.random.default_rng(1).uniform(0, 150e-6, (5, 7))
    (tmp_path / f"map{suffix}").write_bytes(write(values))
    np.testing.assert_array_equal(load_map(tmp_path / f"map{suffix}"), values)


@pytest.mark.parametrize(
    ("name", "data"), [("a.npy", b"not numpy"), ("a.csv", b"1,2\n3,x\n"), ("a.csv", b"\xff\xfe")]
)
def test_a_file_that_is_no_map_is_named(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.(npy|csv)"):
        load_map(tmp_path / name)


def test_comments_empty_lines_blanks_and_a_spreadsheets_mark_are_no_part_of_a_map(tmp_path):
    (tmp_path / "a.csv").write_text("# µS\n1, 2 # a\n\n nan,4e1\r\n", encoding="utf-8-sig")
    np.testing.assert_array_equal(load_map(tmp_path / "a.csv"), [[1, 2], [np.nan, 40]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# one\n1,2\n3;4\n", "a.csv, line 3: '3;4' is no line of comma-separated numbers"),
        ("1,2\n3,\n", "a.csv, line 2: '3,' is no line"),
        ("1,2\n\n3,4,5\n", "a.csv, line 3: 3 numbers, where the first line has 2"),
        (";".join(["1"] * 99), "a.csv, line 1: '1;1;1;1;1;1;1;1;1;1;…'"),
    ],
)
def test_the_line_that_is_wrong_is_named(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=says):
        load_map(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "wrong",
    [
        {"arrays": {"0": {"stuck": [{"row": 64, "col": 0, "kind": 1, "siemens": 0}]}}},
        {"arrays": {"0": {"zero_codes": [16.0, 16.0]}}},
    ],
)
def test_a_profile_that_does_not_fit_its_geometry_is_refused(tmp_path, wrong):
    import json

    (tmp_path / "p.json").write_text(json.dumps({"serial": "A", "rows": 64, "cols": 64} | wrong))
    with pytest.raises(ValueError, match="no chip profile"):
        ChipProfile.load(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[scan]\nset_volts = [2.0]", "equally many"),
        ("[programming]\ninner_tolerance = 6e-6", "inner_tolerance"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path, text, named):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ValueError, match=named):
        Settings.load(tmp_path / "s.toml")


@pytest.mark.parametrize("values", [np.ones((2, 2), complex), np.zeros((0, 3)), np.ones(5)])
def test_an_array_that_is_no_map_is_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=r"a\.npy"):
        load_map(tmp_path / "a.npy")

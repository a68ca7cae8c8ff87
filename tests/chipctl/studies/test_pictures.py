"""A learning rule has one colour, whatever the picture."""

from chipctl.studies.catalogue import studies
from chipctl.studies.pictures import RULES, looks


def test_a_rule_has_the_same_colour_beside_any_others():
    many = looks(["Hebb", "Storkey", "pseudo-inverse", "equilibrium propagation", "eq. (5)"])
    few = looks(["pseudo-inverse", "eq. (5)"])
    assert few == {name: many[name] for name in few}
    assert few["eq. (5)"] == (RULES["eq. (5)"], True)


def test_variants_share_the_colour_of_their_rule_with_hollow_marks():
    found = looks(["eq. (5), digits", "eq. (5), random", "eq. (5), self-connection"])
    assert {colour for colour, _ in found.values()} == {RULES["eq. (5)"]}
    assert [filled for _, filled in found.values()] == [True, False, False]


def test_no_two_lines_of_a_picture_look_alike():
    for study in studies().values():
        curves = getattr(study.draw, "__self__", None)
        if curves is not None:
            assert len(set(looks(curves.series).values())) == len(curves.series), study.name

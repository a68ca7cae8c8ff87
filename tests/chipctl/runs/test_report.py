"""The report is one file that needs nothing beside itself and shows what it was given."""

import re
import subprocess

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from chipctl.runs.report import Fact, Figure, Report, Section, Table


@pytest.fixture(scope="module")
def page(full_report):
    return full_report.render()


def test_it_loads_nothing_from_elsewhere(page):
    assert not re.findall(r"<(?:script|link|iframe)\b", page)
    sources = re.findall(r'(?:src|href)="([^"]{1,30})', page)
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources)


def test_it_is_small_enough_to_mail(page):
    assert len(page.encode()) < 3_000_000


def test_it_shows_every_section_table_and_figure(page):
    for text in ("Programming", "Recall", "Where this comes from", "pulses per device", "22.9"):
        assert text in page
    assert page.count("<figure>") == page.count("</svg>") == 6


def test_a_missed_requirement_is_called_missed():
    page = Report("t", facts=[Fact("cosine", "0.98", "required: 0.995", met=False)]).render()
    assert "✗ missed · required: 0.995" in page


def test_text_is_escaped_and_pictures_are_not():
    figure = Figure("a < b", Markup("<svg></svg>"))
    page = Report(
        "<script>", sections=[Section("R&D", "x < y", Table(["<i>"], [["<b>"]]), [figure])]
    ).render()
    assert "<script>" not in page
    assert "R&amp;D" in page
    assert "x &lt; y" in page
    assert "<svg></svg>" in page
    assert "a &lt; b" in page


@pytest.mark.extras
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_in_the_readers_colours(page, scheme, tmp_path, system_program):
    picture = tmp_path / "report.png"
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    subprocess.run(
        [
            system_program("chromium", package="chromium"),
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,3600"),
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}"),
            (tmp_path / "report.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=90,
    )
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("L"))
    paper = np.median(pixels)
    assert (paper < 60) if scheme == "dark" else (paper > 200)
    assert np.mean(np.abs(pixels - paper) > 100) > 0.02

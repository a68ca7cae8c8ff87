"""The report of a run: one HTML file that needs nothing beside itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from markupsafe import Markup

from chipctl.runs.record import RunRecord


@dataclass(frozen=True)
class Figure:
    """A picture (inline SVG, see `chipctl.runs.figures`) and what it shows."""

    caption: str
    image: Markup


@dataclass(frozen=True)
class Table:
    """Columns by name and rows of text; the first column names the row, numbers stand right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A part of the report: heading, paragraphs (parted by an empty line), a table, figures."""

    heading: str
    text: str = ""
    table: Table | None = None
    figures: Sequence[Figure] = ()

    @property
    def anchor(self) -> str:
        """The heading as a link's target."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.heading.lower()).split())

    @property
    def paragraphs(self) -> list[str]:
        """The text without empty paragraphs."""
        return [part.strip() for part in self.text.split("\n\n") if part.strip()]


@dataclass(frozen=True)
class Fact:
    """One figure a reader looks for first: `Fact("within ±5 µS", "83.4 %", "of 7 952 devices")`."""

    name: str
    value: str
    remark: str = ""
    met: bool | None = None
    """Whether a stated requirement is met; None where there is none."""


@dataclass(frozen=True)
class Report:
    """Title, the facts a reader wants first, and sections in reading order."""

    title: str
    subtitle: str = ""
    facts: Sequence[Fact] = ()
    sections: Sequence[Section] = field(default=())

    def render(self) -> str:
        """The HTML page."""
        import jinja2

        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        source = files("chipctl.runs").joinpath("report.html").read_text(encoding="utf-8")
        return environment.from_string(source).render(report=self)


def provenance_section(record: RunRecord) -> Section:
    """Who ran what on which chip with which software, as the report's last section."""
    chip = record.chip
    rows: list[tuple[str, object]] = [
        ("run", f"{record.name}"),
        ("started", f"{record.started:%Y-%m-%d %H:%M:%S} UTC"),
        ("chip", chip.address if chip else "none"),
        ("chip serial", chip and chip.serial),
        ("board", chip and chip.board),
        ("firmware", chip and chip.firmware),
        ("protocol schema", chip and chip.schema_hash),
        ("seeds", _pairs(record.seeds.items())),
        ("operator", record.operator),
        ("command", " ".join(record.command_line)),
        ("source", record.source_revision or "not under git"),
        ("Python", record.python),
        ("packages", _pairs(record.packages.items())),
    ]
    known = [row for row in rows if row[1]]
    return Section("Where this comes from", table=Table(("", ""), known))


def _pairs(items: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items)

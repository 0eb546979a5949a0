"""What a measurement found, and the one table that tells it."""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number in words. `met` is None where nothing is aimed at."""

    name: str
    measured: str
    value: float
    aim: str = ""
    met: bool | None = None


def at_most(name: str, value: float, most: float, unit: str, *, digits: int = 2) -> Figure:
    """A figure that should not be larger than `most`."""
    return Figure(
        name=name,
        measured=f"{value:,.{digits}f} {unit}",
        value=value,
        aim=f"at most {most:g} {unit}",
        met=value <= most,
    )


def at_least(name: str, value: float, least: float, unit: str, *, digits: int = 2) -> Figure:
    """A figure that should not be smaller than `least`."""
    return Figure(
        name=name,
        measured=f"{value:,.{digits}f} {unit}",
        value=value,
        aim=f"at least {least:g} {unit}",
        met=value >= least,
    )


def told(name: str, value: float, unit: str, *, digits: int = 2) -> Figure:
    """A figure that is only told."""
    return Figure(name=name, measured=f"{value:,.{digits}f} {unit}", value=value)


def show(console: Console, measurements: Iterable[tuple[str, list[Figure]]]) -> None:
    """One table, with a section for each measurement."""
    table = Table("measurement", "figure", "measured", "aim", "met")
    for title, figures in measurements:
        for number, figure in enumerate(figures):
            met = {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[figure.met]
            table.add_row("" if number else title, figure.name, figure.measured, figure.aim, met)
        table.add_section()
    console.print(table)

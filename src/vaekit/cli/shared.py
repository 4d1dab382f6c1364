"""Loading runs and writing results, for several commands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit.cli.output import say
from vaekit.errors import UserError, printable
from vaekit.system.notes import note

__all__ = ["check_out", "check_overwrites_no_input", "counted", "loaded", "parse_numbers", "save"]


def loaded(run: Path, device: str) -> Any:
    """Load a run, with a note if its training has not finished."""
    from vaekit import api

    opened = api.load(run, device)
    if not opened.is_finished and opened.leads:
        seen, total = opened.images_seen(), opened.config.total_images
        if seen == total:
            left = "its weights are final but were not measured; run the train command again to measure them"
        else:
            left = f"its weights have seen {seen:,} of {total:,} images"
        note(f"vaekit: {printable(str(run))} is not finished, {left}")
    return opened


def save(
    result: Any,
    out: Path | None,
    run: Path,
    verb: str,
    as_json: bool = False,
    shown: Mapping[str, Any] | None = None,
    moves: bool = False,
    inputs: Sequence[str | Path | None] = (),
) -> None:
    """Write the figure of a :class:`~vaekit.Result`, and print its numbers, or ``shown`` instead.

    The figure never replaces one of the user's ``inputs``.
    """
    from vaekit.figures.animation import animated
    from vaekit.system.distributed import join

    if not join().leads:
        return
    path = out or Path(f"{os.path.basename(os.path.abspath(run))}-{verb}.{'webp' if moves else 'png'}")
    check_overwrites_no_input(out, run, *inputs)
    (animated(result.figure) if moves else result.figure).save(path)
    say({"picture": str(path), **(result.numbers if shown is None else shown)}, as_json)


def check_out(out: Path | None) -> None:
    """Raise :class:`UserError` for an unknown picture format, before long work."""
    from vaekit.figures.grid import check_ending

    if out is not None:
        check_ending(out)


def check_overwrites_no_input(out: Path | None, run: Path | None, *inputs: str | Path | None) -> None:
    """Raise :class:`UserError` if ``out`` is one of the inputs or the run's data, or lies in one of them."""
    if out is None or not out.is_file():
        return
    from vaekit.runs import folder as runs

    data = () if run is None else (runs.read_config(run).data.source,)
    target = out.resolve()
    for given in filter(None, (*inputs, *data)):
        place = Path(given).resolve()
        if place.exists() and target.is_relative_to(place):
            where = "is an input of this command" if place == target else f"lies in {given}, where the images are"
            raise UserError(f"{out} {where}; choose another name, so that it is not overwritten")


def parse_numbers(text: str, name: str) -> float | list[float]:
    """Parse a number, or several with commas between them.

    >>> parse_numbers("0.8", "temperature"), parse_numbers("1,0.8", "temperature")
    (0.8, [1.0, 0.8])
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"{name} {text!r}: expected a number such as 0.8, or several with commas between them", name
        ) from error
    return numbers if "," in text else numbers[0]


def counted(run: Any) -> Any:
    """Return the callback that reports progress, which only the main process prints."""
    from vaekit.system.progress import count_silently, counter_on_stderr

    return counter_on_stderr() if run.leads else count_silently

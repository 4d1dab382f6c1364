"""Loading runs and writing results, for several commands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit.cli.output import say
from vaekit.errors import UserError, printable
from vaekit.errors import counted as number_of
from vaekit.system.notes import note

__all__ = ["check_idle", "check_outputs", "counted", "loaded", "parse_numbers", "save", "target"]


def loaded(run: Path, device: str) -> Any:
    """Load a run, with a note if its training has not finished."""
    from vaekit import api
    from vaekit.runs import folder as runs

    opened = api.load(run, device)
    if not opened.is_finished and opened.leads:
        seen, total = opened.images_seen(), opened.config.total_images
        if seen == total and runs.metrics_lack(run, opened.config, seen):
            left = "its weights are final, but its metrics.jsonl is missing or incomplete"
        elif seen == total:
            left = "its weights are final but were not measured; run the train command again to measure them"
        else:
            left = f"its weights have seen {seen:,} of {number_of(total, 'image')}"
        note(f"vaekit: {printable(str(run))} is not finished, {left}")
    return opened


def check_idle(run: Path) -> None:
    """Raise :class:`UserError` if another process, such as a training, writes to the run, before other notes."""
    from vaekit.runs import folder as runs
    from vaekit.system.locks import only_writer

    runs.read_config(run)  # the error for a folder that is no run
    if _leads():
        with only_writer(run, note, is_out=False):
            pass


def target(
    out: Path | None,
    run: Path,
    verb: str,
    *inputs: str | Path | None,
    overwrite: bool = False,
    moves: bool = False,
) -> Path:
    """Return the picture to write: ``out``, or by default RUN-VERB.png; checks it before long work.

    A picture with the default name may replace an older one; :func:`check_outputs` checks the others.
    """
    from vaekit.figures.grid import check_ending

    path = out or Path(f"{os.path.basename(os.path.abspath(run))}-{verb}.{'webp' if moves else 'png'}")
    if not moves:
        check_ending(path)
    check_outputs(path, run=run, inputs=inputs, overwrite=overwrite or out is None)
    return path


def check_outputs(*outs: Path | None, run: Path | None, inputs: Sequence[str | Path | None], overwrite: bool) -> None:
    """Raise :class:`UserError` if a file that a command will write exists, unless ``overwrite`` is true.

    An input of the command, or a file among the images of the run, is never replaced.
    """
    for out in filter(None, outs):
        _check_no_input(out, run, inputs)
        if not overwrite and os.path.lexists(out) and not out.is_dir() and _leads():
            raise UserError(f"{out} already exists; choose another name, or add --overwrite to replace it")


def save(
    result: Any,
    path: Path,
    as_json: bool = False,
    shown: Mapping[str, Any] | None = None,
    moves: bool = False,
) -> None:
    """Write the figure of a result to a :func:`target`, and print its numbers; without --json, ``shown`` instead."""
    from vaekit.figures.animation import animated

    if not _leads():
        return
    is_new = not os.path.lexists(path)
    (animated(result.figure) if moves else result.figure).save(path)
    if not is_new:
        note(f"vaekit: {printable(str(path))} existed and was replaced")
    say({"picture": str(path), **(result.numbers if as_json or shown is None else shown)}, as_json)


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


def _leads() -> bool:
    """Whether this is the main process, which prints and writes files."""
    from vaekit.system.distributed import join

    return join().leads


def _check_no_input(out: Path, run: Path | None, inputs: Sequence[str | Path | None]) -> None:
    """Raise :class:`UserError` if ``out`` is one of the inputs or the run's data, or lies in one of them."""
    if not out.is_file():
        return
    from vaekit.runs import folder as runs

    data = () if run is None else (runs.read_config(run).data.source,)
    place = out.resolve()
    for given in filter(None, (*inputs, *data)):
        source = Path(given).resolve()
        if os.path.exists(source) and place.is_relative_to(source):
            where = "is an input of this command" if source == place else f"lies in {given}, where the images are"
            raise UserError(f"{out} {where}; choose another name, so that it is not overwritten")

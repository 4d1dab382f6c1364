"""Parse the arguments of ``vaekit edit``: strengths and new directions. Imported late, because it needs torch."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence

from vaekit.errors import UserError, storable
from vaekit.latent.directions import Direction, method_of_folders, named
from vaekit.run import Run
from vaekit.runs.verbs.directions import names_without_direction

__all__ = ["chosen_directions", "parse_move", "parse_moves"]

_MOST_STRENGTH = 1000  # far beyond any sensible picture


def chosen_directions(
    run: Run,
    texts: Sequence[str],
    method: str,
    is_orthogonal: bool,
    overwrite: bool = False,
    levels: int = 1,
) -> dict[str, Direction]:
    """Return the run's directions, after adding those given as ``NAME=WITH,WITHOUT``.

    Raises:
        UserError: If the run has a direction of that name from other folders or another method, unless ``overwrite``.
    """
    known = run.directions(method, is_orthogonal, levels)
    for text in texts:
        name, equals, folders = text.partition("=")
        with_, comma, without = folders.partition(",")
        if not (name and equals and with_ and comma and without):
            raise UserError(f"--direction {text}: expected NAME=WITH,WITHOUT, for example beard=with/,without/")
        stored, source = known.get(name), f"{with_} and {without}"
        is_same = stored is not None and stored.source == source and _is_made_by(stored, method, is_orthogonal)
        if stored and stored.source != "data" and not is_same and not overwrite:
            raise UserError(
                f"--direction {name}: {run.path} has a direction of that name, made from {stored.source} with "
                f"{_options_of(stored)}; choose another name, or add --overwrite to replace it"
            )
        known[name] = run.add_direction(name, with_, without, method, is_orthogonal, levels)
    return known


def parse_moves(
    run: Run,
    known: Mapping[str, Direction],
    add: Sequence[str],
    remove: Sequence[str],
    method: str,
    is_orthogonal: bool,
) -> dict[str, float]:
    """Return the strength of each direction: positive for ``--add``, negative for ``--remove``.

    Raises:
        UserError: If a name is unknown, a strength is not a number, or a direction from folders was made with another
            method.
    """
    left_out = names_without_direction(run.context, known)
    moves: dict[str, float] = {}
    for sign, texts in ((1, add), (-1, remove)):
        for text in texts:
            name, strength = parse_move(text, known, left_out)
            made = known[name]
            if made.source != "data" and not _is_made_by(made, method, is_orthogonal):
                raise UserError(
                    f"{name} was made from {made.source} with {_options_of(made)}; give these options, or --direction "
                    "again"
                )
            moves[name] = moves.get(name, 0.0) + sign * strength
    if not moves:
        raise UserError("nothing is added or removed; give --add NAME or --remove NAME")
    return moves


def parse_move(text: str, directions: Mapping[str, Direction], left_out: Collection[str] = ()) -> tuple[str, float]:
    """Parse ``NAME`` or ``NAME=STRENGTH`` into name and strength, 1 by default; names may contain equals signs.

    >>> parse_move("hair=red", {"hair=red": ...}), parse_move("hair=red=0.5", {"hair=red": ...})
    (('hair=red', 1.0), ('hair=red', 0.5))
    """
    text = storable(text)  # as names of classes and columns are stored
    if text in directions:
        return text, 1.0
    name, equals, number = text.rpartition("=")
    if not equals:
        _check_known(directions, text, left_out)
    _check_known(directions, text if name not in directions and not _is_number(number) else name, left_out)
    if not _is_number(number) or not abs(float(number)) <= _MOST_STRENGTH:
        raise UserError(f"{text}: expected a number up to {_MOST_STRENGTH:,} as the strength, such as {name}=1.5")
    return name, float(number)


def _is_made_by(direction: Direction, method: str, is_orthogonal: bool) -> bool:
    """Whether a direction from folders was made with these options."""
    return (direction.method, direction.is_orthogonal) == (method_of_folders(method), is_orthogonal)


def _options_of(direction: Direction) -> str:
    return f"--method {direction.method}" + " --orthogonal" * direction.is_orthogonal


def _check_known(directions: Mapping[str, Direction], name: str, left_out: Collection[str]) -> None:
    """Raise :class:`UserError` for an unknown direction, with the option that makes a new one."""
    if name in directions or name in left_out:
        named(directions, name, left_out)
        return
    try:
        named(directions, name)
    except UserError as error:
        raise UserError(f"{error.text}: --direction {shlex.quote(name)}=with/,without/") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

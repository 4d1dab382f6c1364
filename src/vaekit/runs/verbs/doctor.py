"""Diagnose the training: what is wrong, if anything, and what to do about it."""

from __future__ import annotations

import dataclasses
from typing import Any

from vaekit.errors import UserError, argument
from vaekit.evaluation.doctor.diagnosis import Diagnosis, diagnose
from vaekit.evaluation.doctor.examine import examine
from vaekit.evaluation.doctor.next_command import next_command
from vaekit.runs import folder as runs
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result

__all__ = ["doctor"]


def doctor(run: RunContext, data: Any) -> Result:
    """Return the fields of :class:`Diagnosis` and the next command, and all of it as text."""
    images = run.images() if data is None else run.given(data)
    if images.fingerprint != run.config.data.fingerprint:
        raise UserError(
            f"{images.source} does not contain the images that {run.path} was trained on, which the doctor needs; "
            f"give those as {argument('data')}"
        )
    _check_metrics(run)
    diagnosis = diagnose(examine(run.model, run.config, images, runs.read_metrics(run.path)))
    source = data if isinstance(data, str) else run.config.data.source
    command = next_command(run.config, diagnosis, source, str(run.path))
    return Result(numbers={**dataclasses.asdict(diagnosis), "next_command": command}, text=_text(diagnosis, command))


def _check_metrics(run: RunContext) -> None:
    """Refuse metrics that do not show the course of the training, because the verdict would be wrong."""
    lack = runs.metrics_lack(run.path, run.config, run.images_seen())
    if lack:
        raise UserError(
            f"{run.path / 'metrics.jsonl'} {lack}, and the doctor needs it to judge the course of the training; "
            f"restore the file from a copy, or train again with another {argument('out')}"
        )


def _text(diagnosis: Diagnosis, command: str) -> str:
    """Format the verdict, its evidence, and what to do."""
    return "\n".join([diagnosis.summary, "", *diagnosis.table(), "", diagnosis.advice, f"  {command}"])

"""The doctor's section of the page: the verdict, its evidence, and the next command."""

from __future__ import annotations

from html import escape

from vaekit.evaluation.doctor.evidence_table import Row
from vaekit.runs.report.facts import Facts

__all__ = ["verdict"]


def verdict(facts: Facts) -> str:
    """Return the section as HTML; empty for a run that has not finished, or has no stored evidence."""
    diagnosis = facts.diagnosis
    if diagnosis is None:
        return ""
    rows = "\n".join(_row(row) for row in diagnosis.rows)
    return (
        f'<section class="doctor">\n<h2>Verdict: {escape(diagnosis.verdict)}</h2>\n'
        f"<p>{escape(_sentence(diagnosis.reason))}</p>\n"
        "<details><summary>Evidence</summary>\n"
        '<div class="scroll"><table>\n'
        '<thead><tr><th></th><th class="n">value</th><th>expected</th><th></th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div></details>\n"
        f"<p>{escape(diagnosis.advice)}</p>\n<pre><code>{escape(facts.next_command(diagnosis))}</code></pre>\n</section>"
    )


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]


def _row(row: Row) -> str:
    mark = {True: "ok", False: "<strong>not as expected</strong>", None: ""}[row.is_ok]
    return (
        f'<tr><th>{escape(row.name)}</th><td class="n">{escape(row.text)}</td>'
        f"<td>{escape(row.expected)}</td><td>{mark}</td></tr>"
    )

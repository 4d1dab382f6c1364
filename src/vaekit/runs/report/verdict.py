"""The doctor's block of the page: the verdict, what it rests on, and the command to try next."""

from __future__ import annotations

from html import escape

from vaekit.evaluation.doctor.evidence_table import Row
from vaekit.runs.report.facts import Facts

__all__ = ["verdict"]


def verdict(facts: Facts) -> str:
    """The block as HTML; empty for a run that has not ended, or ended before there was a doctor."""
    found = facts.diagnosis
    if found is None:
        return ""
    rows = "\n".join(_row(row) for row in found.rows)
    return (
        f'<section class="doctor">\n<h2>Verdict: {escape(found.verdict)}</h2>\n'
        f"<p>{escape(_sentence(found.reason))}</p>\n"
        "<details><summary>What that rests on</summary>\n"
        '<div class="scroll"><table>\n'
        '<thead><tr><th></th><th class="n">value</th><th>expected</th><th></th></tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div></details>\n"
        f"<p>{escape(found.advice)}</p>\n<pre><code>{escape(facts.next_command(found))}</code></pre>\n</section>"
    )


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]


def _row(row: Row) -> str:
    mark = {True: "ok", False: "<strong>not as expected</strong>", None: ""}[row.is_ok]
    return (
        f'<tr><th>{escape(row.name)}</th><td class="n">{escape(row.text)}</td>'
        f"<td>{escape(row.expected)}</td><td>{mark}</td></tr>"
    )

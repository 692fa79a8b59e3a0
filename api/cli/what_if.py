"""``counterfoil replay --what-if``: the history decided again under other rules, and what would have differed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson
from rich.markup import escape
from rich.table import Table

from api.bootstrap import LedgerGapError, ReplayRefusedError, WhatIf, decide_again, prepare
from api.cli.console import clear_errors, err, fact_progress, fail, out, settings
from commands.what_if_rules import Rules, RulesError, read_rules
from projections.what_if import SUMMED, Comparison, Course

EVENTS_SHOWN_MAX = 20
"""On the terminal; the JSON has all."""
WORDS = {
    "orders": "orders placed",
    "paid_orders": "orders paid",
    "expired_orders": "holds that expired",
    "cancelled_orders": "orders cancelled",
    "tickets": "tickets sold",
    "revenue": "revenue",
    "refunded_tickets": "tickets refunded",
    "refunds": "refunds",
    "late_payments": "payments too late",
    "admitted": "admitted",
    "capacity": "places",
    "free": "places free at the end",
}
AMOUNTS = ("revenue", "refunds")
LIMITS = (
    "What was refused in reality is not in the ledger: whoever was turned away then is not served here, and nobody takes"
    " what is free here.\nNobody buys more or less because a price is another. Amounts are minor units."
)


def report(path: Path, as_of: int | datetime | None, json: Path | None) -> None:
    """Decide again, and say what would have differed."""
    rules = _read(path)
    result = _decide(path, rules, as_of)
    _show(result)
    if json is not None:
        try:
            json.write_bytes(orjson.dumps(_document(rules, result), option=orjson.OPT_INDENT_2) + b"\n")
        except OSError as error:
            fail(f"{json}: {error.strerror}")


def _read(path: Path) -> Rules:
    try:
        return read_rules(path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except UnicodeDecodeError:
        fail(f"{path} is not UTF-8")
    except RulesError as error:
        fail(escape(f"{path}: {error}"))


def _decide(path: Path, rules: Rules, as_of: int | datetime | None) -> WhatIf:
    with clear_errors():
        url, _, server = prepare(settings(), reading=True)
        try:
            with fact_progress() as progress:
                bar = progress.add_task("facts", visible=False)  # nothing to see when there is nothing to read
                return decide_again(
                    url,
                    rules,
                    as_of,
                    on_progress=lambda done, total: progress.update(bar, completed=done, total=total, visible=True),
                )
        except RulesError as error:
            fail(escape(f"{path}: {error}"))
        except (ReplayRefusedError, LedgerGapError) as error:
            fail(str(error))
        finally:
            if server is not None:
                server.stop_unless_joined()


def _document(rules: Rules, result: WhatIf) -> dict[str, object]:
    return {
        "rules": rules.model_dump(mode="json", exclude_unset=True),
        "as_of_position": result.position,
        "unread_facts": result.unread,
        "unmet_rules": result.unmet,
        **result.comparison.document(),
    }


# -- For people. -----------------------------------------------------------------------


def _show(result: WhatIf) -> None:
    comparison = result.comparison
    for name in result.unmet:
        err.print(f"nothing in the history is named by {name}", highlight=False, markup=False, soft_wrap=True)
    if result.unread:
        err.print(f"{result.unread:,} facts could not be read by this release and are left out", highlight=False)
    same, different = comparison.intentions[True], comparison.intentions[False]
    out.print(
        f"As of position {result.position:,}, intentions decided again: {same + different:,}; differently: {different:,}.",
        highlight=False,
        soft_wrap=True,
    )
    if comparison.same:
        out.print("Nothing would have differed.")
        return
    if not comparison.refusals and not comparison.changed():
        out.print("No figure would have differed.")
    else:
        for total in comparison.totals():
            out.print(_totals(total))
    if comparison.refusals:
        out.print(_refusals(comparison))
    if comparison.changed():
        out.print(_events(comparison))
    out.print(LIMITS, highlight=False, soft_wrap=True, style="dim")


def _totals(total: Course) -> Table:
    table = Table(f"All events in {total.currency}", "recorded", "what if", "difference")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in SUMMED:
        was, now = getattr(total.recorded, name), getattr(total.decided, name)
        table.add_row(WORDS[name], f"{was:,}", f"{now:,}", f"{now - was:+,}" if now != was else "")
    return table


def _refusals(comparison: Comparison) -> Table:
    """In the order in which they would have begun: what was refused before what could not come of it."""
    table = Table("Refused", "why", "how often", "first at", "because")
    for (asked, code), refused in comparison.refusals.items():
        first = refused.examples[0]
        table.add_row(asked, code, f"{refused.count:,}", str(first.position), escape(first.detail))
    return table


def _events(comparison: Comparison) -> Table:
    """Those whose revenue differs most come first."""
    changed = sorted(comparison.changed(), key=lambda each: -abs(each[1].decided.revenue - each[1].recorded.revenue))
    table = Table("Event", "", "orders", "tickets", "revenue", "sold out at (UTC)")
    for _, course in changed[:EVENTS_SHOWN_MAX]:
        sides = ("recorded", course.recorded), ("what if", course.decided)
        for title, (side, figures) in zip((course.title, ""), sides, strict=True):
            amounts = (f"{figures.orders:,}", f"{figures.tickets:,}", f"{figures.revenue:,}")
            table.add_row(escape(title), side, *amounts, _instant(figures.sold_out_at))
    if len(changed) > EVENTS_SHOWN_MAX:
        table.caption = f"and {len(changed) - EVENTS_SHOWN_MAX:,} more; --json has all of them"
    return table


def _instant(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if at is not None else "never"

"""Warnings: what is odd about a run that goes on. Told on stderr, in the record, to reporters.

Of many, the record keeps the first and the last ones.
"""

from __future__ import annotations

from cronguard.core import record as records
from cronguard.core.messages import render
from cronguard.runtime.clock import now_ms
from cronguard.runtime.report import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.runtime.keeper import Keeper

MOST_KEPT = 20


def warn(keeper: Keeper, topic: str, facts: dict[str, object]) -> None:
    """Warn of what the messages have under *topic*."""
    keeper.say(topic, facts)
    said = render(topic, facts, keeper.spec, keeper.label, keeper.claim.owner.run_id)
    (text,) = kept(keeper, [said.removeprefix(f"{keeper.spec.name}: ").removesuffix(".")])
    at = keeper.wall.at(now_ms())
    keeper.warnings.append({"at": records.utc(at), "text": text})
    if len(keeper.warnings) > MOST_KEPT:
        del keeper.warnings[MOST_KEPT // 2]
    if keeper.teller is not None:
        keeper.teller.tell_warning(keeper.record(), at, text)

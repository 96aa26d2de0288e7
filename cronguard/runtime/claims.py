"""What a run asks its store for: from its spec, and from the rule for slots if there is one."""

from __future__ import annotations

from cronguard.core.spec import Claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cronguard.config.rules import Plan
    from cronguard.core.spec import JobSpec, Owner


def claim_of(spec: JobSpec, owner: Owner, px: int, plan: Plan | None) -> Claim:
    """Return the claim of *owner* on the job; the store keeps an unrenewed lease for *px* ms."""
    return Claim(
        spec.name,
        owner,
        px,
        namespace=spec.namespace,
        slots=spec.slots,
        min_hold=spec.min_hold,
        rule=plan.rule if plan else "",
        slot_px=plan.slot_px if plan else 0,
        replicas=spec.min_replicas,
    )


def plan_of(spec: JobSpec, now_wall: int, period: int) -> Plan | None:
    """Return the rule for slots, if there is to be one; *period* is that of --once, if said."""
    if not spec.once and not spec.schedule:
        return None
    from cronguard.config.rules import Plan  # noqa: PLC0415  (only with slots)

    return Plan(spec, now_wall, period)


def refuse_wrong_address(store: str, source: str) -> str:
    """Refuse a store's URL that cannot be right before anything starts.

    Returns the servers that it says to take at their word (tls_verify=false). Raises: ValueError.
    """
    if store.startswith("sqlite://"):
        return ""
    from cronguard.stores.address import parse_all  # noqa: PLC0415

    try:
        return ", ".join([one.label for one in parse_all(store) if not one.tls_verify])
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None

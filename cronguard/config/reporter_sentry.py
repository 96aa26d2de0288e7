"""What the sections of the type sentry may say. See cronguard/reporters/sentry.py."""

from __future__ import annotations

from cronguard.config.reporter_rows import Setting, count, period, switch, tags, text


def threshold(value: object) -> int:
    """Return a number that Sentry takes as a threshold."""
    if count(value) > 720:
        raise ValueError("Sentry takes no more than 720")
    return count(value)


def owner(value: object) -> str:
    """Return an actor as Sentry names them."""
    if not text(value).startswith(("user:", "team:")):
        raise ValueError("it takes user:NAME or team:NAME")
    return text(value)


def environment(value: object) -> str:
    """Return the name of an environment, as Sentry takes them."""
    found = text(value)
    if len(found) > 64 or set(found) & set("/ ") or found.lower() == "none":
        raise ValueError("it takes up to 64 characters, no slash and no space, and not none")
    return found


def release(value: object) -> str:
    """Return the name of a release, as Sentry takes them."""
    found = text(value)
    if len(found) > 200 or set(found) & {"/", "\\"} or found in (".", "..", "latest"):
        raise ValueError("it takes up to 200 characters without slashes, and not . or latest")
    return found


SETTINGS = (
    Setting("dsn", text, "", "The project's DSN. Default: SENTRY_DSN.", is_secret=True),
    Setting("environment", environment, "", "Default: SENTRY_ENVIRONMENT, or production."),
    Setting("release", release, "", "Default: SENTRY_RELEASE, or none."),
    Setting("monitor", text, "{job}", "The monitor's slug, with fields of the record."),
    Setting("margin", period, None, "How late a run may begin before it counts as missed."),
    Setting("max_runtime", period, None, "How long a run may last. Default: --timeout and 1m."),
    Setting("failure_issue_threshold", threshold, None, "So many failures make an issue."),
    Setting("recovery_threshold", threshold, None, "So many successes close it again."),
    Setting("owner", owner, "", "Whose the monitor is: user:NAME or team:NAME."),
    Setting("tags", tags, {}, "Tags of its events, with fields of the record."),
    Setting("check_ins", switch, True, "Check in to the monitor."),
    Setting("errors", switch, True, "Send an event for each failure and warning."),
    Setting("heartbeat", switch, True, "A skip says that the run in its way goes on."),
    Setting("output", switch, True, "Attach the output's tail to the event."),
)

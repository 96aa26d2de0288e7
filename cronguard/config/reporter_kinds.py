"""What the sections of reporters may say: what all have in common, and a row for each type.

What each type does with it stands at the head of its module in cronguard/reporters.
"""

from __future__ import annotations

from cronguard.config import reporter_command as command
from cronguard.config import reporter_healthchecks as healthchecks
from cronguard.config import reporter_mail as mail
from cronguard.config import reporter_otlp as otlp
from cronguard.config import reporter_sentry as sentry
from cronguard.config import reporter_syslog as syslog
from cronguard.config import reporter_webhook as webhook
from cronguard.config.reporter_rows import (
    Kind,
    Setting,
    count,
    datagrams_to,
    events,
    folder,
    one_of,
    period,
    switch,
    text,
    texts,
    windows,
)
from cronguard.core.telling import FAILURE, MISSED, RECOVERY, SKIP, START, STOP, SUCCESS, WARNING

ALL = (START, SUCCESS, RECOVERY, FAILURE, STOP, SKIP, WARNING)
"""Of who knows by itself which runs are missing."""
ENDS = (SUCCESS, RECOVERY, FAILURE, STOP, SKIP, WARNING, MISSED)
TRACES = (SUCCESS, RECOVERY, FAILURE, STOP, SKIP)
"""Of who shows how runs went, warnings among it."""
ALERTS = (FAILURE, RECOVERY, MISSED)

COMMON = (
    Setting("on", events, (), "What it is told of: a list of events, outcomes, reasons of skips."),
    Setting("after", count, 1, "How many runs must have failed in a row before it is told."),
    Setting("changes", switch, False, "Tell the first failure alone, and then that it is over."),
    Setting("mute", windows, (), "When nothing is told: from times of a schedule on, for so long."),
    Setting("timeout", period, 5_000, "How long one attempt to tell it may take."),
)
HTTP = (
    Setting("allow_http", switch, False, "Send without encryption, too."),
    Setting("allow_private", switch, False, "Send to addresses of this host and its network, too."),
    Setting("ca", text, "", "A file of certificates to trust, instead of the host's."),
    Setting("proxy", text, "", "A proxy to send through: http://HOST:PORT.", is_secret=True),
)

KINDS: dict[str, Kind] = {
    "healthchecks": Kind(
        ALL,
        (*healthchecks.SETTINGS, *HTTP),
    ),
    "webhook": Kind(
        ALERTS,
        (*webhook.SETTINGS, *HTTP),
    ),
    "sentry": Kind(
        ALL,
        (*sentry.SETTINGS, *HTTP),
    ),
    "prometheus": Kind(
        ALL,
        (
            Setting("textfile", folder, "", "A folder to write metrics to, a file for each job."),
            Setting("pushgateway", text, "", "A Pushgateway: https://HOST:9091.", is_secret=True),
            Setting("instance", text, "", "The Pushgateway's group beside the job, as {host}."),
            *HTTP,
        ),
    ),
    "statsd": Kind(
        ENDS,
        (
            Setting("address", datagrams_to, "127.0.0.1:8125", "HOST:PORT, or unix:///PATH."),
            Setting("dialect", one_of("statsd", "dogstatsd"), "statsd", "What the server reads."),
            Setting("prefix", text, "cronguard", "What names begin with, as cron.{host}."),
            Setting("tags", texts, (), "Of DogStatsD: what each metric has, as user:{user}."),
        ),
    ),
    "mail": Kind(
        ALERTS,
        mail.SETTINGS,
    ),
    "syslog": Kind(
        ENDS,
        syslog.SETTINGS,
    ),
    "otlp": Kind(
        TRACES,
        (*otlp.SETTINGS, *HTTP),
        otlp.lacks,
    ),
    "command": Kind(
        command.hooked,
        command.SETTINGS,
    ),
}

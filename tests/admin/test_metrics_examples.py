"""examples/prometheus: alerts and dashboard name what is exported, and the alerts fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from cronguard.core.metrics import COUNTER, HISTOGRAM, NAMESPACE, TABLE
from tests.shape import source

from .seeds import Seeds
from .test_export_metrics import busy, export

FOLDER = source.ROOT / "examples" / "prometheus"
RULES = FOLDER / "cronguard.rules.yml"
NAME = re.compile(r"\bcronguard_\w+")
GROUPED = re.compile(r"by \(([^)]*)\)")
NEEDED = {"alert", "expr", "labels", "annotations"}


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    assert group["name"] == "cronguard"
    found: list[dict[str, Any]] = group["rules"]
    return found


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
    return found


def questions() -> list[str]:
    """Return every expression of both, and where jobs to choose from are asked for."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    chosen = [one["query"] for one in dashboard()["templating"]["list"] if one["type"] == "query"]
    assert panels
    assert chosen
    return [*panels, *chosen, *[rule["expr"] for rule in rules()]]


def family(sample: str) -> str:
    """Return the row of the table that a sample's name belongs to."""
    for name, (kind, _, _) in TABLE.items():
        ends = {COUNTER: ("_total",), HISTOGRAM: ("_bucket", "_count", "_sum")}.get(kind, ("",))
        if sample in [name + end for end in ends]:
            return name
    raise AssertionError(f"{sample} is in no row of the table")


def test_every_metric_that_is_asked_for_is_exported(seeds: Seeds) -> None:
    """By exactly its name, in a store where each of them has a value."""
    busy(seeds)
    asked = {name for text in questions() for name in NAME.findall(text)}
    assert len(asked) > 20
    assert asked <= export(seeds).names


def test_what_is_grouped_by_is_a_label() -> None:
    """Each of the labels that an expression keeps, or a text shows, is one of its metrics'."""
    for text in questions():
        known = {label for name in NAME.findall(text) for label in TABLE[family(name)][1]}
        known.add(NAMESPACE)
        for kept in GROUPED.findall(text):
            assert {label.strip() for label in kept.split(",")} <= known, text
    for rule in rules():
        known = {label for name in NAME.findall(rule["expr"]) for label in TABLE[family(name)][1]}
        shown = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert shown <= known | {"instance"}, rule["alert"]


def test_windows_are_not_taken_for_counters() -> None:
    """Only what rises is asked for its rate or increase; a histogram of the last runs is not."""
    for text in questions():
        for name in re.findall(r"(?:rate|increase)\((cronguard_\w+)", text):
            assert TABLE[family(name)][0] == COUNTER, text


def test_each_alert_says_what_and_what_to_do() -> None:
    """Named once; with its severity, a summary, and what to look at."""
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert NEEDED <= set(rule) <= NEEDED | {"for"}, rule
        assert re.fullmatch(r"Cronguard[A-Za-z]+", rule["alert"])
        assert rule["labels"] in ({"severity": "warning"}, {"severity": "critical"})
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_the_commands_that_alerts_name_exist() -> None:
    """What a description sends somebody to is a command of cronguard."""
    from cronguard.admin import cli

    named = re.findall(r"`cronguard (\w+)", RULES.read_text())
    assert named
    assert set(named) <= set(cli._COMMANDS)


def test_the_dashboard_is_whole() -> None:
    """Panels with ids of their own side by side, each asking the chosen data source."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        sources = [panel["datasource"], *[target["datasource"] for target in panel["targets"]]]
        assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def promtool(*args: str, stdin: str = "") -> None:
    """Run promtool; it must find nothing."""
    done = subprocess.run(
        ["promtool", *args], input=stdin, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lint" not in done.stdout + done.stderr


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
def test_promtool_accepts_metrics_and_rules(seeds: Seeds) -> None:
    """Prometheus' own reader and linter have nothing to say."""
    busy(seeds)
    _, out, _ = seeds.say("export", "metrics")
    promtool("check", "metrics", stdin=out)
    promtool("check", "rules", str(RULES))


SERIES = {
    "cronguard_up": "1x90",
    'cronguard_consecutive_failures{job="backup"}': "3x90",
    'cronguard_consecutive_failures{job="mail"}': "0x90",
    'cronguard_consecutive_failures{job="rates"}': "1x90",
    'cronguard_last_failure_timestamp_seconds{job="rates"}': "9x90",
    'cronguard_last_success_timestamp_seconds{job="rates"}': "8x90",
    'cronguard_consecutive_failures{job="moved",instance="a"}': "3x90",
    'cronguard_last_failure_timestamp_seconds{job="moved",instance="a"}': "8x90",
    'cronguard_consecutive_failures{job="moved",instance="b"}': "0x90",
    'cronguard_last_success_timestamp_seconds{job="moved",instance="b"}': "9x90",
    'cronguard_consecutive_failures{job="twice"}': "0x90",
    'cronguard_last_success_timestamp_seconds{job="twice"}': "9x90",
    'cronguard_consecutive_failures{job="twice",namespace="team"}': "3x90",
    'cronguard_last_failure_timestamp_seconds{job="twice",namespace="team"}': "8x90",
    'cronguard_overdue{job="mail"}': "1x90",
    'cronguard_consecutive_skips{job="mail"}': "9x90",
    'cronguard_paused{job="mail"}': "1x90",
    'cronguard_consecutive_skips{job="rates"}': "5x90",
    'cronguard_paused{job="rates"}': "0x90",
    'cronguard_abandoned_runs{job="rates"}': "1x60 2x30",
    'cronguard_abandoned_runs{job="mail"}': "1x90",
    'cronguard_lock_errors_total{job="mail"}': "4x90",
    'cronguard_lock_errors_total{job="rates"}': "4x60 5x30",
    'cronguard_damaged{job="odd"}': "1x90",
    'cronguard_damaged{job="mail"}': "0x90",
    'cronguard_heartbeat_age_seconds{job="mail",host="web-1"}': "16x90",
    'cronguard_heartbeat_age_seconds{job="rates",host="web-1"}': "5x90",
    'cronguard_last_start_timestamp_seconds{job="slow"}': "0x90",
    'cronguard_last_success_timestamp_seconds{job="slow"}': "0x90",
    'cronguard_running_runs{job="slow"}': "1x90",
    'cronguard_run_duration_seconds_bucket{job="slow",le="60.0"}': "20x90",
    'cronguard_run_duration_seconds_bucket{job="slow",le="+Inf"}': "20x90",
    'cronguard_run_duration_seconds_count{job="slow"}': "20x90",
}
FIRING = {
    "CronguardJobFailing": ["backup", "twice"],
    "CronguardJobFailed": ["backup", "rates", "twice"],
    "CronguardJobOverdue": ["mail"],
    "CronguardJobSkipped": ["rates"],
    "CronguardJobAbandoned": ["rates"],
    "CronguardLockUnreachable": ["rates"],
    "CronguardRecordsDamaged": ["odd"],
    "CronguardHeartbeatLate": ["mail"],
    "CronguardRunLong": ["slow"],
    "CronguardJobWithoutSuccess": [],
    "CronguardStoreDown": [],
    "CronguardMetricsMissing": [],
}


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
def test_alerts_fire_for_the_jobs_in_trouble_and_no_other(tmp_path: Path) -> None:
    """After 75 minutes of a fleet in which something is wrong with some jobs."""
    assert set(FIRING) == {rule["alert"] for rule in rules()}
    queries = [
        {
            "expr": f'count by (job) (ALERTS{{alertname="{name}",alertstate="firing"}})',
            "eval_time": "75m",
            "exp_samples": [{"labels": f'{{job="{job}"}}', "value": 1} for job in jobs],
        }
        for name, jobs in FIRING.items()
    ]
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    case = {"interval": "1m", "input_series": series, "promql_expr_test": queries}
    file = tmp_path / "fleet.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [case]}))
    promtool("test", "rules", str(file))


@pytest.mark.debian
@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus")
def test_an_alert_fires_when_the_store_or_the_exporter_is_away(tmp_path: Path) -> None:
    """For longer than it takes to start one of them anew."""
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    cases = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": "0x90"}],
            "promql_expr_test": [
                {
                    "expr": firing,
                    "eval_time": "30m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}],
                }
            ],
        }
        for name, alert in (
            ("cronguard_up", "CronguardStoreDown"),
            ("another", "CronguardMetricsMissing"),
        )
    ]
    file = tmp_path / "away.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": cases}))
    promtool("test", "rules", str(file))

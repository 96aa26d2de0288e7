"""`cronguard export metrics`: what it writes is what the store knows, in either format."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from cronguard.admin.export_metrics import replace
from cronguard.core import record as rec
from cronguard.core.metrics import COUNTER, ENDED, TABLE
from cronguard.core.sheet import label
from tests.servers import binary, start_server
from tests.shape import source

from .seeds import Seeds, wall

HOUR = 3_600_000
HOSTILE = 'a"b\\c\nd} 1\ncronguard_up 0\x00\x1b[31m\udc80\u202e{'
Labels = dict[str, str]
Sample = tuple[str, tuple[tuple[str, str], ...]]


def told(text: str, kind: str = "prometheus") -> dict[Sample, float]:
    """Return each sample by name and labels; none is there twice."""
    found: dict[Sample, float] = {}
    for family in (openmetrics if kind == "openmetrics" else prometheus)(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


class Metrics:
    """What `cronguard export metrics` told."""

    def __init__(self, text: str, kind: str = "prometheus") -> None:
        self.all = told(text, kind)
        self.names = {name for name, _ in self.all}

    def of(self, name: str, **labels: str) -> float | None:
        """Return the value of `cronguard_NAME`, or None if there is none."""
        return self.all.get((f"cronguard_{name}", tuple(sorted(labels.items()))))


def export(seeds: Seeds, *more: str, kind: str = "prometheus") -> Metrics:
    """Run it, and return what it told."""
    status, out, err = seeds.say("export", "metrics", "--format", kind, *more)
    assert (status, err) == (0, "")
    return Metrics(out, kind)


def busy(seeds: Seeds) -> None:
    """Put into the store what every metric needs to have a value."""
    seeds.ended(
        rec.SUCCEEDED,
        exit_status=0,
        duration_ms=1500,
        wait_ms=40,
        longest_gap_ms=5200,
    )
    seeds.ended(
        rec.FAILED,
        exit_status=3,
        duration_ms=100,
        wait_ms=0,
        cpu_user_ms=20,
        max_rss_bytes=1_000_000,
    )
    seeds.ended(rec.SKIPPED, "held")
    seeds.ended(rec.SKIPPED, "paused")
    seeds.live(host="web-9")
    daily = seeds.run("report")
    daily.facts["schedule"] = {"once_ms": HOUR, "cron": None, "tz": None}
    daily.acquire()
    daily.end(rec.SUCCEEDED)
    seeds.started("report", wall() - 5 * HOUR)


@pytest.fixture(params=["sqlite", "redis"])
def store(
    request: pytest.FixtureRequest, seeds: Seeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Seeds]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        yield seeds
        return
    (tmp_path / "server").mkdir()
    server = start_server(tmp_path / "server", "redis" if binary("redis") else "valkey")
    monkeypatch.setenv("CRONGUARD_STORE", server.url)
    seeds.url = server.url
    yield seeds
    server.stop()


@pytest.mark.parametrize("kind", ["prometheus", "openmetrics"])
def test_metrics_are_what_the_store_knows(seeds: Seeds, kind: str) -> None:
    """Base units; counts by outcome and reason, a zero where nothing was counted yet."""
    busy(seeds)
    found = export(seeds, kind=kind)
    job = {"job": "backup"}
    assert found.of("up") == 1
    assert found.of("scrape_errors_total") == 0
    runs = {one: found.of("runs_total", outcome=one, **job) for one in ENDED}
    assert runs == {**dict.fromkeys(ENDED, 0), rec.SUCCEEDED: 1, rec.FAILED: 1}
    reasons = ("held", "paused", "wait_expired")
    assert [found.of("skips_total", reason=one, **job) for one in reasons] == [1, 1, 0]
    attempts = ("attempts", "acquired", "contended", "errors")
    assert [found.of(f"lock_{one}_total", **job) for one in attempts] == [4, 2, 1, 0]
    assert found.of("last_exit_status", **job) == 3
    assert found.of("last_run_duration_seconds", **job) == 0.1
    assert found.of("heartbeat_longest_gap_seconds", **job) == 5.2
    assert found.of("running_runs", **job) == 1
    assert found.of("running_runs", job="report") == 0
    assert found.of("heartbeat_age_seconds", host="web-9", **job) is not None
    assert found.of("consecutive_failures", **job) == 1
    assert found.of("paused", **job) == 0
    assert found.of("overdue", **job) is None
    assert found.of("overdue", job="report") == 1
    assert found.of("missed_runs", job="report") in (4, 5)  # an hour may end in between
    started = found.of("last_start_timestamp_seconds", job="report")
    assert started is not None
    assert abs(started - (wall() - 5 * HOUR) / 1000) < 600


def test_durations_and_waits_are_histograms_of_the_last_runs(seeds: Seeds) -> None:
    """Cumulative, in seconds, with count and sum; durations are those of successes."""
    busy(seeds)
    found = export(seeds)
    name, job = "run_duration_seconds", {"job": "backup"}
    assert [found.of(f"{name}_{part}", **job) for part in ("count", "sum")] == [1, 1.5]
    bounds = ("1.0", "2.0", "+Inf")
    assert [found.of(f"{name}_bucket", le=le, **job) for le in bounds] == [0, 1, 1]
    assert found.of("lock_wait_seconds_count", **job) == 2
    assert found.of("lock_wait_seconds_sum", **job) == 0.04
    assert found.of("lock_wait_seconds_bucket", le="0.01", **job) == 1


def test_the_newest_run_that_ended_tells_what_it_used(seeds: Seeds) -> None:
    """Processor time of user and system together, and the most memory."""
    seeds.ended(rec.FAILED, exit_status=9)
    seeds.ended(rec.SUCCEEDED, exit_status=0, cpu_user_ms=1200, cpu_system_ms=300, max_rss_bytes=7)
    seeds.live()
    found, job = export(seeds), {"job": "backup"}
    assert found.of("last_run_cpu_seconds", **job) == 1.5
    assert found.of("last_run_max_rss_bytes", **job) == 7
    assert found.of("last_exit_status", **job) == 0


def test_counters_do_not_fall_when_records_go(store: Seeds) -> None:
    """They are the store's, not what the kept records add up to; a window is of the records."""
    store.ended(rec.SUCCEEDED, at=wall() - 48 * HOUR, duration_ms=5)
    store.ended(rec.FAILED, at=wall() - 48 * HOUR, exit_status=1)
    store.ended(rec.SKIPPED, "held", at=wall() - 48 * HOUR)
    before = export(store)
    status, _, err = store.say("prune", "--keep", "1")
    assert (status, err) == (0, "")
    after = export(store)
    counters = {f"{name}_total" for name, (kind, _, _) in TABLE.items() if kind == COUNTER}
    held = {key: value for key, value in before.all.items() if key[0] in counters}
    assert sum(held.values()) >= 6
    assert held == {key: value for key, value in after.all.items() if key[0] in counters}
    windows = [one.of("run_duration_seconds_count", job="backup") for one in (before, after)]
    assert windows == [1, 0]


def test_an_abandoned_run_is_no_counter(seeds: Seeds) -> None:
    """It is taken off again when its keeper turns out to be alive: what may fall is a gauge."""
    run = seeds.live()
    seeds.vanish()
    found = export(seeds)
    assert found.of("abandoned_runs", job="backup") == 1
    before = {key: value for key, value in found.all.items() if key[0].endswith("_total")}
    run.end(rec.SUCCEEDED)
    found = export(seeds)
    assert found.of("abandoned_runs", job="backup") == 0
    assert found.of("runs_total", job="backup", outcome="succeeded") == 1
    assert all(found.all[key] >= value for key, value in before.items())


@pytest.mark.parametrize("kind", ["prometheus", "openmetrics"])
def test_names_of_strangers_stay_data_in_metrics(store: Seeds, kind: str) -> None:
    """S10: quotes, backslashes, line ends and worse in a label add no sample, and break none."""
    run = store.run()
    run.facts["host"] = HOSTILE
    run.end(rec.SKIPPED, HOSTILE.replace("\udc80", ""))  # no reason of ours
    store.live(host=HOSTILE)
    status, out, _ = store.say("export", "metrics", "--format", kind)
    found = Metrics(out, kind)
    assert status == 0
    assert found.of("up") == 1
    ages = [dict(labels) for name, labels in found.all if name == "cronguard_heartbeat_age_seconds"]
    [age] = ages
    assert age["job"] == "backup"
    assert age["host"].startswith('a"b\\c\nd} 1\ncronguard_up 0\\x00\\x1b[31m')
    assert found.of("skips_total", job="backup", reason="other") == 1
    assert all(line.isprintable() for line in out.splitlines())
    names = {f"{name}{'_total' * (kind == COUNTER)}" for name, (kind, _, _) in TABLE.items()}
    parts = ("_bucket", "_count", "_sum")
    assert found.names <= names | {f"{name}{part}" for name in names for part in parts}


def test_a_label_is_whole_characters_of_bounded_length() -> None:
    """S10: half of a pair would end the whole answer, and a megabyte would fill it."""
    assert label("bäckup-日本") == "bäckup-日本"
    assert label("a\nb\ud800\x7f") == "a\nb\\ud800\\x7f"
    assert label("x" * 1_000_000) == "x" * 256 + "…"


def test_two_runs_on_one_host_are_one_sample(seeds: Seeds) -> None:
    """With slots a job runs twice on a host: the longest silence counts, and no sample doubles."""
    seeds.slots = 2
    seeds.live()
    seeds.live()
    found = export(seeds)
    assert found.of("running_runs", job="backup") == 2
    assert found.of("heartbeat_age_seconds", job="backup", host="web-3") is not None


def test_every_metric_of_the_table_can_be_had(seeds: Seeds) -> None:
    """And no other: the table is what is exported."""
    busy(seeds)
    _, out, _ = seeds.say("export", "metrics")
    helps = {family.name: family.documentation for family in prometheus(out)}
    assert helps == {name: text for name, (_, _, text) in TABLE.items()}


def test_a_store_that_is_down_is_told_as_such(seeds: Seeds, tmp_path: Path) -> None:
    """`cronguard_up` 0 and nothing old, on stdout and in the file; status 69, and why."""
    seeds.ended(rec.SUCCEEDED)
    path = str(tmp_path / "cronguard.prom")
    assert seeds.say("export", "metrics", "--file", path) == (0, "", "")
    assert Metrics(Path(path).read_text()).of("up") == 1
    away = ("--store", "redis://127.0.0.1:1")
    status, out, err = seeds.say("export", "metrics", *away)
    assert (status, "connection refused" in err) == (69, True)
    names = {"cronguard_up", "cronguard_scrape_errors_total", "cronguard_scrape_duration_seconds"}
    assert Metrics(out).names == names
    assert (Metrics(out).of("up"), Metrics(out).of("scrape_errors_total")) == (0, 1)
    status, out, _ = seeds.say("export", "metrics", *away, "--file", path)
    assert (status, out, Metrics(Path(path).read_text()).names) == (69, "", names)


def test_a_store_that_hangs_is_given_up_in_time(seeds: Seeds) -> None:
    """A server that accepts and never answers: it is the bound that ends it, not the client."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        store = f"redis://127.0.0.1:{mute.getsockname()[1]}"
        more = ("--store", store, "--timeout", "300ms")
        status, out, err = seeds.say("export", "metrics", *more)
    assert (status, Metrics(out).of("up")) == (69, 0)
    assert "the store was not read within 300ms" in err


def test_a_damaged_job_hides_no_other(seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as damaged, and nothing else of it."""
    folder = Path(os.environ["HOME"], "server")
    folder.mkdir()
    server = start_server(folder, "redis" if binary("redis") else "valkey")
    try:
        monkeypatch.setenv("CRONGUARD_STORE", server.url)
        seeds.url = server.url
        seeds.ended(rec.SUCCEEDED)
        seeds.ended(rec.SUCCEEDED, job="mail")
        server.do("DEL", "cg:{mail}:n")
        server.do("SET", "cg:{mail}:n", "nonsense")
        found = export(seeds)
        assert (found.of("damaged", job="mail"), found.of("damaged", job="backup")) == (1, 0)
        assert found.of("running_runs", job="mail") is None
        assert found.of("running_runs", job="backup") == 0
    finally:
        server.stop()


def test_a_configured_job_that_never_ran_is_overdue(seeds: Seeds, tmp_path: Path) -> None:
    """As `check` tells; and a section that is wrong costs only that job's due."""
    file = tmp_path / "c.toml"
    file.write_text(
        '[jobs.nightly]\ncommand = ["true"]\nschedule = "* * * * *"\n'
        '[jobs.plain]\ncommand = ["true"]\n'
    )
    file.chmod(0o600)
    found = export(seeds, "--config", str(file))
    assert (found.of("overdue", job="nightly"), found.of("missed_runs", job="nightly")) == (1, 1)
    assert found.of("overdue", job="plain") is None
    assert found.of("runs_total", job="plain", outcome="failed") == 0


def test_the_file_is_replaced_whole_and_readable(seeds: Seeds, tmp_path: Path) -> None:
    """0644 whatever the umask, a new inode by a rename, and nothing beside it."""
    folder = tmp_path / "textfile"
    folder.mkdir()
    path = folder / "cronguard.prom"
    path.write_text("old")
    before = os.open(path, os.O_RDONLY)
    umask = os.umask(0o077)
    try:
        assert seeds.say("export", "metrics", "--file", str(path)) == (0, "", "")
    finally:
        os.umask(umask)
    assert os.read(before, 10) == b"old"
    os.close(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert Metrics(path.read_text()).of("up") == 1
    assert os.listdir(folder) == ["cronguard.prom"]


def test_a_file_that_cannot_be_written_is_said(seeds: Seeds, tmp_path: Path) -> None:
    """One message, status 2; what stood there stays, and nothing is left beside it."""
    status, out, err = seeds.say("export", "metrics", "--file", f"{tmp_path}/none/x.prom")
    assert (status, out) == (2, "")
    assert "cannot write" in err
    assert "give --file" in err
    (tmp_path / "folder.prom").mkdir()
    status, _, err = seeds.say("export", "metrics", "--file", f"{tmp_path}/folder.prom")
    assert (status, "cannot write" in err) == (2, True)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".cronguard-")]


def test_a_file_in_the_working_folder_has_a_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path without a folder is one in this folder."""
    monkeypatch.chdir(tmp_path)
    replace("x.prom", b"1\n")
    assert (tmp_path / "x.prom").read_bytes() == b"1\n"


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (["--listen", "0", "--file", "x"], "contradict"),
        (["--listen", "0", "--format", "openmetrics"], "contradict"),
        (["--listen", "nowhere"], "is no address"),
        (["--timeout", "0"], "more than 0"),
        (["--timeout", "soon"], "--timeout"),
        (["--format", "json"], "--format"),
    ],
)
def test_what_makes_no_sense_is_refused(seeds: Seeds, more: list[str], word: str) -> None:
    """Status 2, on one line."""
    status, out, err = seeds.say("export", "metrics", *more)
    assert (status, out, err.count("\n"), word in err) == (2, "", 1, True)


def test_only_who_writes_metrics_loads_what_writes_them(seeds: Seeds) -> None:
    """prometheus-client stays on the disk for all else, `export history` included."""
    script = (
        "import sys; from cronguard.admin.cli import main; status = main(sys.argv[1:])\n"
        "print(status, 'prometheus_client' in sys.modules)"
    )
    for words, loaded in ((("history",), False), (("metrics",), True)):
        argv = [sys.executable, "-c", script, "export", *words]
        out = subprocess.run(argv, cwd=source.ROOT, capture_output=True, text=True, check=True)
        assert out.stdout.splitlines()[-1] == f"0 {loaded}"

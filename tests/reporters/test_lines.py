"""From the configuration to reporters: when they are mute, what is secret, who makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cronguard.reporters import registry
from cronguard.reporters.contract import NotNow
from cronguard.reporters.lines import Lines, is_muted

HOUR = 3_600_000


def at(text: str) -> int:
    """Return a moment of UTC in ms since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("2026-03-01 01:59:59", False),
        ("2026-03-01 02:00:00", True),
        ("2026-03-01 05:59:59", True),
        ("2026-03-01 06:00:00", False),
        ("2026-03-02 03:00:00", False),
    ],
)
def test_a_window_begins_with_its_schedule_and_lasts_so_long(when: str, expected: bool) -> None:
    """On Sundays from two, for four hours."""
    window = {"cron": "0 2 * * sun", "for_ms": 4 * HOUR, "tz": "UTC"}
    assert is_muted([window], at(when)) is expected


def test_a_window_is_of_its_time_zone() -> None:
    """Two in Berlin is one in UTC, in winter."""
    window = {"cron": "0 2 * * *", "for_ms": HOUR, "tz": "Europe/Berlin"}
    assert is_muted([window], at("2026-01-05 01:30:00"))
    assert not is_muted([window], at("2026-01-05 02:30:00"))
    assert is_muted([{**window, "tz": "UTC"}, window], at("2026-01-05 02:30:00"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file with a reporter whose address is a secret."""
    path = tmp_path / "c.toml"
    path.write_text(
        '[reporters.hook]\ntype = "webhook"\nproxy = "http://me:pr0xy-pass@proxy:1/services/T0001/c4nary"\n'
        '[jobs.job.reporters.hook]\nproxy_file = "/nowhere"\n'
    )
    path.chmod(0o600)
    return path


def lines_of(config: Path) -> Lines:
    """Return the reporters of the file, and of no other."""
    return Lines(str(config), {"HOME": str(config.parent)})


def test_a_secret_that_cannot_be_read_is_no_reason_to_let_go(config: Path) -> None:
    """It may be there again with the next run."""
    line = lines_of(config).of("job", ["hook"])[0]["hook"]
    with pytest.raises(NotNow, match="cannot read '/nowhere'"):
        line.make()


def test_the_parts_of_a_secret_address_are_secrets(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passwords, paths: whatever a service may put into what it says of a failure."""
    monkeypatch.setattr(registry, "make", lambda *_: None)
    lines = lines_of(config)
    lines.of("other", ["hook"])[0]["hook"].make()
    assert {
        "pr0xy-pass",
        "services/T0001/c4nary",
        "c4nary",
        "http://me:pr0xy-pass@proxy:1/services/T0001/c4nary",
    } <= set(lines.secrets)


def test_a_host_is_no_secret(config: Path) -> None:
    """Messages name it; what stands before or behind it is one."""
    for url, found in (
        ("https://collector.example/", set()),
        ("https://collector.example:4318", set()),
        ("https://me@collector.example", {"https://me@collector.example"}),
        ("https://collector.example?c4nary", {"https://collector.example?c4nary"}),
    ):
        config.write_text(f'[reporters.otlp]\nendpoint = "{url}"\n')
        lines = lines_of(config)
        lines.of("job", ["otlp"])[0]["otlp"].make()
        assert set(lines.secrets) == found


def test_headers_and_each_of_several_keys_are_secrets(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may quote a part of them alone."""
    monkeypatch.setattr(registry, "make", lambda *_: None)
    config.write_text(
        '[reporters.hook]\ntype = "webhook"\nsecret = "whsec_one1 whsec_two2"\n'
        'headers = { Authorization = "Bearer c4nary-token" }\n'
    )
    lines = lines_of(config)
    lines.of("job", ["hook"])[0]["hook"].make()
    assert {"whsec_one1", "whsec_two2", "Bearer c4nary-token", "c4nary-token"} <= set(lines.secrets)


def test_a_section_that_is_gone_is_not_one_that_is_wrong(config: Path) -> None:
    """The one is let go, the other corrected by somebody."""
    lines = lines_of(config)
    assert lines.of("job", ["nobody"]) == ({}, {})
    config.write_text("[reporters.hook]\ntype = 'webhook'\ncolour = 'red'\n")
    known, wrong = lines_of(config).of("job", ["hook"])
    assert not known
    assert "colour" in wrong["hook"]


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    """So its reports stay."""
    lines = Lines(str(tmp_path / "nothing"), {"HOME": str(tmp_path)})
    known, wrong = lines.of("job", ["hook"])
    assert not known
    assert "No such file" in wrong["hook"]


def test_a_type_that_is_not_here_is_named() -> None:
    """With those that are."""
    with pytest.raises(ValueError, match=r"no type nobody of reporters here; known are .*webhook"):
        registry.make("nobody", {})


def test_every_type_of_ours_has_its_rows() -> None:
    """And none has rows without being one."""
    from cronguard.config.reporter_kinds import KINDS

    assert set(KINDS) == set(registry.OURS)

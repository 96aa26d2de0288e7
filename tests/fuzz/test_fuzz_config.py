"""Files and variables of any kind: a spec that holds what it promises, or one line of why not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from cronguard.config import options as opt
from cronguard.config import paths
from cronguard.config.options import OPTIONS, ConfigError
from cronguard.config.resolve import NeedsClick, Resolved, from_argv, place
from cronguard.core.lease import ttl_problem
from cronguard.core.spec import is_job_name
from cronguard.stores.address import parse_all
from tests.fuzz.corpus import fuzzed, replayed
from tests.fuzz.hostile import not_hanging

CANARY = "kanarienvogel"
"""The password wherever one is written. No message may show it."""
_URLS = (
    f"redis://:{CANARY}@127.0.0.1:6379/0", f"redis://u:{CANARY}@h:x/0", f"redis://u:{CANARY}?x@h",
    f"redis://u:{CANARY}#x@h", f"redis://u:{CANARY}", f"redis://u:{CANARY}:1@h:1:1",
    f"redis://u:{CANARY}/x@h", f"redis://:{CANARY}%zz@h", f"redis://:{CANARY} x@h",
    f"sqlite://u:{CANARY}@/", f"unix://:{CANARY}@x", f"redis+sentinel://:{CANARY}@h",
    f"redis+sentinel://h/m?sentinel_password={CANARY}", f"redis+cluster://:{CANARY}@h/1",
    f"redis://:{CANARY}@h redis://:{CANARY}@h", f"redis://:{CANARY}@\x1b[2J", f"x://:{CANARY}@h",
    f"redis://:{CANARY}@h?db={'9' * 5000}", f"redis://:{CANARY}@h:{'9' * 5000}", "sqlite:///x/y",
    f"redis://h sqlite://u:{CANARY}@/x", "redis://", "://", "", "sqlite://", "redis://h",
    f"redis://u:{CANARY}@h\udc80",
)  # fmt: skip
_VALUES = (
    "30s", "1h30m", "none", "forever", "0", "-1", "1e9", "9" * 400, "TERM", "15", "kill", "auto",
    "stop", "true", "yes", "75", "124", "x" * 300, "\x1b[2J", "\u202e", "a\nb", "²", "٣", "1.5.5",
    "/nonexistent/x", "relative", "/", "/dev/null", "", " ",
)  # fmt: skip
_VARIABLES = [option.variable for option in OPTIONS if option.variable]
_NAMES = ("x", "a.b", "-x", "x" * 129, "ü", "", "jobs", "\n", "A:1")
texts = st.one_of(
    st.sampled_from(_VALUES),
    st.sampled_from(_URLS),
    st.text(max_size=12),
    st.text("0123456789.dhms", max_size=9),
)
scalars = st.one_of(
    texts.filter(lambda text: text.isascii() or "\udc80" not in text),
    st.booleans(), st.integers(), st.floats(), st.dates(), st.datetimes(), st.times(),
    st.sampled_from([2**63, -1, 10**30, 0.0000001, 1e300, -0.0]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.one_of(
    st.sampled_from([o.name for o in OPTIONS]), st.sampled_from(["command", "tty", "stor"])
)
sections = st.dictionaries(keys, st.one_of(texts, values), max_size=6)
trees = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "defaults": st.one_of(sections, sections, values),
            "jobs": st.one_of(
                st.dictionaries(st.sampled_from(_NAMES), st.one_of(sections, values), max_size=3),
                values,
            ),
            "store": values,
        },
    ),
)
variables = st.dictionaries(
    st.sampled_from(
        [*[o.variable for o in OPTIONS if o.variable], "REDIS_URL", "REDIS_HOST", "REDIS_PORT",
         "REDIS_PASSWORD", "CRONGUARD_STATE_DIR", "HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME",
         "CREDENTIALS_DIRECTORY"]
    ),
    st.one_of(texts, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)),
    max_size=5,
).map(lambda found: {name: text.replace("\0", "") for name, text in found.items()})  # fmt: skip


def check_message(error: Exception) -> None:
    """See that what is wrong is said in a line that shows no secret."""
    text = str(error)
    assert text
    assert text.isprintable(), ascii(text)
    assert CANARY not in text
    assert len(text) < 2_000


def check_spec(found: Resolved) -> None:
    """See that the spec holds what its reader relies on."""
    spec = found.spec
    assert is_job_name(spec.name)
    assert is_job_name(spec.namespace)
    assert spec.command
    assert spec.command[0]
    assert all(isinstance(word, str) and "\0" not in word for word in spec.command)
    assert not ttl_problem(spec.ttl)
    assert spec.timeout is None or spec.timeout > 0
    assert spec.wait is None or spec.wait >= 0
    assert spec.kill_after >= 0
    assert spec.store_timeout > 0
    assert 0 <= spec.skip_exit_code <= 255
    for option in opt.IN_SPEC:
        assert not option.choices or getattr(spec, option.name) in option.choices
    if spec.store.startswith("sqlite://"):
        return
    try:
        parse_all(spec.store)
    except ValueError as error:  # as runtime/main.py has it
        check_message(error)
        return
    assert CANARY not in spec.store or any(CANARY in secret for secret in found.secrets)


def resolve(text: bytes, environ: dict[str, str], argv: list[str]) -> None:
    """Read a file of *text* under *environ*, and see what comes of it."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / "etc.toml"
        file.write_bytes(text)
        file.chmod(0o600)
        patch.setattr(paths, "SYSTEM_CONFIG", str(file))
        env = {"HOME": folder, "CRONGUARD_STATE_DIR": folder, **environ}
        with not_hanging():
            try:
                check_spec(from_argv(argv, env))
            except ConfigError as error:
                check_message(error)
            except NeedsClick:
                pass
            try:
                place({}, env, "x")
            except ConfigError as error:
                check_message(error)


@given(trees, variables, st.sampled_from(_NAMES))
@fuzzed(150)
def test_any_table_is_a_spec_or_a_message(
    tree: dict[str, object], environ: dict[str, str], name: str
) -> None:
    """C1: whatever type stands where, in whatever surroundings."""
    try:
        text = tomli_w.dumps(tree)
        raw = text.encode()
    except (ValueError, TypeError):
        return  # surrogates, which no file can hold
    resolve(raw, environ, ["-n", name, "--", "true"])
    resolve(raw, environ, ["-n", name])


@given(trees, st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), max_size=4))
@fuzzed(100)
def test_any_text_is_a_spec_or_a_message(
    tree: dict[str, object], changes: list[tuple[int, bytes]]
) -> None:
    """C1: a file that somebody's editor, disk or template has mangled."""
    try:
        raw = tomli_w.dumps(tree).encode()
    except (ValueError, TypeError):
        return
    for at, new in changes:
        start = at % (len(raw) + 1)
        raw = raw[:start] + new + raw[start + 1 :]
    resolve(raw, {}, ["-n", "x", "--", "true"])


@replayed("toml")
def test_files_that_once_did_harm(kept: bytes) -> None:
    """C1: the corpus of files."""
    resolve(kept, {}, ["-n", "x", "--", "true"])
    resolve(kept, {}, ["-n", "x"])


@replayed("urls")
def test_urls_that_once_did_harm(kept: bytes) -> None:
    """C1: the corpus of URLs, in each place that takes one; none shows the password in it."""
    url = kept.decode("utf-8", "surrogateescape").rstrip("\n")
    for variable in (*_VARIABLES, "REDIS_URL", "REDIS_HOST"):
        resolve(b"", {variable: url}, ["-n", "x", "--", "true"])
    resolve(b"", {"REDIS_HOST": "h", "REDIS_PORT": url}, ["-n", "x", "--", "true"])
    resolve(b"", {"CRONGUARD_STORE_FILE": "x", "CREDENTIALS_DIRECTORY": url}, ["--", "true"])
    resolve(b"", {}, ["--store", url, "--", "true"])
    for tree in ({"store": url}, {"store": [url]}, {"store": url + "\x1b"}):
        try:
            resolve(tomli_w.dumps({"defaults": tree}).encode(), {}, ["--", "true"])
        except UnicodeEncodeError:
            return


def test_a_password_in_a_list_of_stores_is_masked(tmp_path: Path) -> None:
    """C1: a quorum written as an array is refused, without the password in it."""
    text = f'[defaults]\nstore = ["redis://:{CANARY}@a", "redis://:{CANARY}@b"]\n'
    resolve(text.encode(), {}, ["--", "true"])


def test_an_end_of_a_number_is_no_other_number(tmp_path: Path) -> None:
    """C1: a timeout finer than a millisecond is refused; it is not taken for 0, which is none."""
    file = tmp_path / "x.toml"
    file.write_text("[jobs.x]\ntimeout = 0.0000001\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="timeout"):
        from_argv(["-c", str(file), "-n", "x", "--", "true"], {"HOME": str(tmp_path)})

"""The store's URL, taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronguard.stores.address import parse


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("redis://10.0.0.5", "redis://10.0.0.5:6379/0"),
        ("redis://10.0.0.5:6380/3", "redis://10.0.0.5:6380/3"),
        ("REDIS://host/", "redis://host:6379/0"),
        ("redis://u:p@host:1/2", "redis://host:1/2"),
        ("redis://:p@host", "redis://host:6379/0"),
        ("redis://host?db=4", "redis://host:6379/4"),
        ("redis://[::1]:7000/1", "redis://[::1]:7000/1"),
        ("redis://[fe80::1%25eth0]", "redis://[fe80::1%eth0]:6379/0"),
        ("rediss://u:p@host:6380", "rediss://host:6380/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock/0"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock/2"),
        ("unix://u:p@/run/redis.sock", "unix:///run/redis.sock/0"),
        ("unix:///run/a%20b.sock", "unix:///run/a b.sock/0"),
    ],
)
def test_a_url_has_a_label_without_secrets(url: str, label: str) -> None:
    """The label names server and database, and never who we are to it."""
    assert parse(url).label == label


def test_user_and_password_are_decoded() -> None:
    """Any character can stand in a password, by %XX."""
    address = parse("redis://us%40er:p%3A%2F%40%23%C3%A9@host/1")
    assert (address.user, address.password) == ("us@er", "p:/@#é")
    assert address.has_password


def test_a_password_may_have_an_at_sign_as_it_is() -> None:
    """The host begins after the last at sign."""
    address = parse("redis://:p@ss@host")
    assert (address.user, address.password, address.host) == ("", "p@ss", "host")


def test_no_login_is_no_login() -> None:
    """Without a login there is no user, and no secret."""
    address = parse("redis://host")
    assert (address.user, address.password, address.has_password) == ("", "", False)


def test_tls_verifies_unless_told_otherwise() -> None:
    """S9: rediss:// verifies; only tls_verify=false does not, and the caller can tell."""
    assert parse("rediss://host").tls_verify
    assert not parse("rediss://host?tls_verify=false").tls_verify


def test_tls_options_are_taken() -> None:
    """Files and the server's name can be given in the URL."""
    url = "rediss://h?tls_ca=/etc/ca.pem&tls_cert=/c&tls_key=/k&tls_server_name=redis.example"
    address = parse(url)
    assert (address.tls_ca, address.tls_cert, address.tls_key) == ("/etc/ca.pem", "/c", "/k")
    assert address.tls_server_name == "redis.example"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("", "not given as a URL"),
        ("host:6379", "not given as a URL"),
        ("http://host", "http:// is not a kind of store"),
        ("redis+sentinel://a,b", "names no master"),
        ("redis+sentinel://a,b//0", "names no master"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis+cluster://a?sentinel_user=u", "unknown option"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis://host:x", "as port"),
        ("redis://host:0", "from 1 to 65535"),
        ("redis://host:70000", "from 1 to 65535"),
        ("redis://host:99999999999999", "from 1 to 65535"),
        ("redis://host:٣", "as port"),
        ("redis://host/x", "'x' as database"),
        ("redis://host/-1", "as database"),
        ("redis://host/1/2", "as database"),
        ("redis://::1:6379", "in brackets"),
        ("redis://[::1", "in brackets"),
        ("redis://[::1]6379", "in brackets"),
        ("redis://hôte", "not ASCII"),
        ("redis://a b", "not ASCII"),
        ("redis://user@host", "no password"),
        ("redis://:p#x@host", "%23"),
        ("redis://:p%zz@host", "%25"),
        ("redis://:p%f@host", "%25"),
        ("redis://:%ff@host", "UTF-8"),
        ("redis://host?wait=1", "unknown option 'wait'"),
        ("redis://host?tls_ca=/x", "rediss://"),
        ("rediss://host?tls_verify=perhaps", "true or false"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix://", "absolute path"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(url: str, what: str) -> None:
    """A wrong URL is refused with the reason; nothing is guessed."""
    with pytest.raises(ValueError, match=what.replace("+", r"\+")):
        parse(url)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_value_error(rest: str) -> None:
    """No text breaks the parser in another way."""
    for scheme in ("redis", "rediss", "unix"):
        try:
            assert parse(f"{scheme}://{rest}").label
        except ValueError:
            continue


@given(st.text(alphabet="abcXYZ019@:/?&%# é", min_size=1, max_size=20).filter(str.strip))
def test_a_wrong_url_never_shows_the_password(secret: str) -> None:
    """S1: messages have the host and the port in them, never what stands before the at sign."""
    canary = "canary"
    for tail in ("host:x", "host/x", "host?no=1", ""):
        with pytest.raises(ValueError, match=r"store|unix|redis") as error:
            parse(f"redis://u:{canary}{secret.replace('#', '').replace('?', '')}@{tail}")
        assert canary not in str(error.value)

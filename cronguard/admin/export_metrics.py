"""`cronguard export metrics`: the fleet's state for Prometheus, as text, as a file, or served."""

from __future__ import annotations

import signal

import click

from cronguard.admin.common import Here, with_place
from cronguard.admin.output import say_error
from cronguard.admin.survey import duration
from cronguard.config import whole
from cronguard.config.options import ConfigError
from cronguard.core import exits
from cronguard.core.words import printable

_ENDING = {signal.SIGTERM, signal.SIGINT}


def replace(path: str, raw: bytes) -> None:
    """Put *raw* in the place of the file, whole or not at all, for everybody to read.

    A collector reads only names that end in `.prom`, which that of the unfinished file does not.
    Raises: ConfigError.
    """
    try:
        whole.replace(path, raw)
    except OSError as error:
        why = error.strerror or "unknown"
        raise ConfigError(
            f"cannot write {printable(path)}: {why}; give --file a path in a folder of this user's"
        ) from None


def _timeout(ctx: click.Context, param: click.Parameter, text: str) -> int:
    found = duration(ctx, param, text)
    if not found:
        raise click.BadParameter("it needs more than 0; write a duration like 8s")
    return found


@click.command("metrics")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["prometheus", "openmetrics"]),
    help="prometheus (the default) or openmetrics; with --listen, who scrapes chooses.",
)
@click.option(
    "--file",
    "path",
    metavar="PATH",
    help="Replace this file at once and whole (for a textfile collector), instead of stdout.",
)
@click.option(
    "--listen",
    "address",
    metavar="ADDR",
    help="Serve them: PORT or HOST:PORT; this host alone can reach it if no HOST is given.",
)
@click.option(
    "--timeout",
    "timeout_ms",
    callback=_timeout,
    default="8s",
    metavar="DUR",
    show_default=True,
    help="How long reading the store may take.",
)
@click.option(
    "--grace",
    "grace_ms",
    callback=duration,
    default="5m",
    metavar="DUR",
    show_default=True,
    help="How late a run of a schedule may start.",
)
@with_place
def metrics_command(
    *,
    here: Here,
    kind: str | None,
    path: str | None,
    address: str | None,
    timeout_ms: int,
    grace_ms: int,
) -> int:
    """Write metrics of all jobs, as the store knows them, for Prometheus.

    Where the store cannot be read, `cronguard_up` is 0, no other state is told, and the exit status
    is 69. With --listen each scrape reads the store, and TERM or INT ends it with status 0: there
    is neither TLS nor a password, and host names and reasons of skips are in the answers.
    """
    if address is not None and (path is not None or kind is not None):
        other = "--file" if path is not None else "--format"
        raise click.UsageError(f"--listen and {other} contradict each other; give one of them")
    if address is not None:
        return _serve(here, address, timeout_ms, grace_ms)
    from cronguard.admin.scrape import Scraper  # noqa: PLC0415 - prometheus-client, where used

    scraper = Scraper(here, timeout_ms, grace_ms)
    raw = scraper.text(kind or "prometheus")
    if path is None:
        click.echo(raw, nl=False)
    else:
        replace(path, raw)
    if scraper.error:
        raise scraper.error
    return exits.DONE


def _serve(here: Here, text: str, timeout_ms: int, grace_ms: int) -> int:
    """Serve until TERM or INT. These are blocked and waited for, in the threads too."""
    from cronguard.admin.metrics_server import MetricsServer, address_of  # noqa: PLC0415
    from cronguard.admin.scrape import Scraper  # noqa: PLC0415

    try:
        address = address_of(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        scraper = Scraper(here, timeout_ms, grace_ms, lambda text: say_error(text, 0))
        server = MetricsServer(address, scraper.registry())
        say_error(f"metrics are at {server.url}", 0)
        signal.sigwait(_ENDING)
        server.stop(timeout_ms / 1000 + 1)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return exits.DONE

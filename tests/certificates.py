"""Authorities and certificates for tests of TLS, made by openssl in a folder of the test's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NAME = "redis.test"
_NEW = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


class Certificates:
    """An authority (`ca`), another one (`stranger`), and what the first has signed.

    `server` is for NAME and 127.0.0.1, `elsewhere` for another host, `expired` as `server` but
    over, `client` for us; `forged` is as `client`, but signed by the stranger.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl to make certificates with")
        self._folder = folder
        here = f"DNS:{NAME},IP:127.0.0.1"
        for name in ("ca", "stranger"):
            usage = "-addext keyUsage=keyCertSign,cRLSign"  # Python 3.13 insists on it
            self._openssl(
                f"{_NEW} -x509 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem {usage}"
            )
        self._sign("server", here)
        self._sign("elsewhere", "DNS:elsewhere.test,IP:192.0.2.1")
        self._sign("expired", here, days=-1)
        self._sign("client", "DNS:client.test")
        self._sign("forged", "DNS:client.test", by="stranger")

    def path(self, name: str) -> str:
        """Return the file of a certificate."""
        return str(self._folder / f"{name}.pem")

    def key(self, name: str) -> str:
        """Return the file of its key."""
        return str(self._folder / f"{name}.key")

    def serving(self, name: str = "server", *, clients: bool = False) -> tuple[str, ...]:
        """Return a server's arguments; with *clients* it wants a certificate of them, too."""
        files = f"--tls-cert-file {self.path(name)} --tls-key-file {self.key(name)}"
        files += f" --tls-ca-cert-file {self.path('ca')}"
        who = "--tls-auth-clients yes" if clients else "--tls-auth-clients no"
        return (*files.split(), *who.split())

    def options(self, client: str = "", ca: str = "ca") -> str:
        """Return what a store's URL says to trust them, and to be trusted as *client*."""
        ours = f"&tls_cert={self.path(client)}&tls_key={self.key(client)}" if client else ""
        return f"?tls_ca={self.path(ca)}{ours}"

    def _sign(self, name: str, names: str, *, by: str = "ca", days: int = 2) -> None:
        usage = "-addext keyUsage=digitalSignature"
        self._openssl(
            f"{_NEW} -subj /CN={name} -keyout {name}.key -out {name}.csr {usage} "
            f"-addext subjectAltName={names}"
        )
        self._openssl(
            f"openssl x509 -req -in {name}.csr -CA {by}.pem -CAkey {by}.key -CAcreateserial "
            f"-days {days} -copy_extensions copy -out {name}.pem"
        )

    def _openssl(self, command: str) -> None:
        subprocess.run(command.split(), cwd=self._folder, check=True, capture_output=True)

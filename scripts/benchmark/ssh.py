"""Programs that move files through ssh, into an sshd of their own: its configuration, host key, user
key and port are the benchmark's, and it ends with each run.
"""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .model import Failure, Run
from .peers import lacking, served, which
from .system import Timed, free_port
from .tools import Place

# What ssh offers first, and what is fastest where the processor has AES.
USUAL_CIPHER, FAST_CIPHER = "chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com"
_HOST = "bench"  # a name of the client's configuration
_PROBE_LIMIT_SECONDS = 20
# sshd insists on it when it runs as root, and its service may never have made it.
_PRIVILEGE_DIRECTORY = Path("/run/sshd")
_SERVER_CONFIG = """\
ListenAddress {host}
Port {port}
HostKey "{scratch}/host_key"
AuthorizedKeysFile "{scratch}/user_key.pub"
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
_CLIENT_CONFIG = """\
Host {name}
HostName {host}
Port {port}
User {user}
IdentityFile "{scratch}/user_key"
IdentitiesOnly yes
IdentityAgent none
UserKnownHostsFile /dev/null
StrictHostKeyChecking no
Ciphers {cipher}
Compression no
BatchMode yes
LogLevel ERROR
"""


def short_name(cipher: str) -> str:
    return cipher.partition("@")[0]


def _make_key(path: Path) -> None:
    if path.exists():
        return
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failure(f"ssh-keygen: {done.stderr.strip() or 'it said nothing'}")


@contextmanager
def _privilege_directory() -> Iterator[None]:
    """Made only if it is missing, and then removed."""
    missing = os.geteuid() == 0 and not _PRIVILEGE_DIRECTORY.exists()
    if missing:
        _PRIVILEGE_DIRECTORY.mkdir(mode=0o755)
    try:
        yield
    finally:
        if missing:
            _PRIVILEGE_DIRECTORY.rmdir()


@dataclass(frozen=True)
class _Server:
    process: Timed
    config: Path  # of the client


@contextmanager
def _serving(place: Place, cipher: str) -> Iterator[_Server]:
    """An sshd that listens; whoever started the process sees to its end."""
    host, port = place.network.host, free_port(place.network.host)
    scratch = place.scratch
    for name in ("host_key", "user_key"):
        _make_key(scratch / name)
    user = pwd.getpwuid(os.geteuid()).pw_name
    server, client = scratch / "sshd_config", scratch / "ssh_config"
    server.write_text(_SERVER_CONFIG.format(host=host, port=port, scratch=scratch))
    client.write_text(
        _CLIENT_CONFIG.format(
            name=_HOST, host=host, port=port, user=user, scratch=scratch, cipher=cipher
        )
    )
    with _privilege_directory():
        process = place.receiving("receive", which("sshd") or "sshd", "-D", "-e", "-f", server)
        process.await_listener(port)
        yield _Server(process, client)


# Whether one can log in, by the directory and the address for which that was tried.
_tried: dict[tuple[Path, str], str | None] = {}


def _obstacle(place: Place, *programs: str) -> str | None:
    """Why there is no ssh here: a program is missing, or logging in is refused."""
    missing = lacking(*programs, "ssh", "sshd", "ssh-keygen")
    if missing:
        return missing
    at = (place.scratch, place.network.host)
    if at not in _tried:
        try:
            with _serving(place, FAST_CIPHER) as server:
                login = place.sending("probe", "ssh", "-F", server.config, _HOST, "true")
                login.wait(_PROBE_LIMIT_SECONDS)
                server.process.stop()
            _tried[at] = None
        except (Failure, OSError) as error:
            _tried[at] = f"sshd cannot be used here: {error}"
    return _tried[at]


@dataclass(frozen=True)
class Scp:
    """scp as it is, that is over SFTP, with a cipher of choice."""

    cipher: str = FAST_CIPHER

    def missing(self, place: Place) -> str | None:
        if place.work.tree is not None:
            return "scp follows symbolic links"
        return _obstacle(place, "scp")

    def run(self, place: Place) -> Run:
        words = ["-q", "-p", *(["-r"] if place.work.kind == "tree" else [])]
        with _serving(place, self.cipher) as server:
            words += ["-F", str(server.config)]
            sender = place.sending(
                "send", "scp", *words, place.payload(), f"{_HOST}:{place.target}"
            )
            return served(place, server.process, sender)


@dataclass(frozen=True)
class RsyncSsh:
    """rsync -aW -e ssh: whole files, without rsync's own daemon."""

    cipher: str = FAST_CIPHER

    def missing(self, place: Place) -> str | None:
        return _obstacle(place, "rsync")

    def run(self, place: Place) -> Run:
        slash = "/" if place.work.kind == "tree" else ""
        with _serving(place, self.cipher) as server:
            through = shlex.join(["ssh", "-F", str(server.config)])
            source, target = f"{place.payload()}{slash}", f"{_HOST}:{place.target}{slash}"
            sender = place.sending("send", "rsync", "-aW", "-e", through, source, target)
            return served(place, server.process, sender)


@dataclass(frozen=True)
class TarSsh:
    """A tree through tar at both ends, which is what many do who find the others slow."""

    cipher: str = FAST_CIPHER

    def missing(self, place: Place) -> str | None:
        return _obstacle(place, "tar", "bash")

    def run(self, place: Place) -> Run:
        target = shlex.quote(str(place.target))
        there = f"mkdir {target} && tar -C {target} -xpf -"
        here = 'set -o pipefail; tar -C "$1" -cf - . | ssh -F "$2" "$3" "$4"'
        with _serving(place, self.cipher) as server:
            sender = place.sending(
                *("send", "bash", "-c", here, "tar", place.payload(), server.config, _HOST, there)
            )
            return served(place, server.process, sender)

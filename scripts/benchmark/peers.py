"""Other programs that move files over a network, as far as they are installed.

All run with a configuration of their own, on a free port, and end with their run.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass

from .model import Failure, Run
from .system import Timed, free_port
from .tools import Place

_SERVER_DIRECTORIES = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin"))


def which(name: str) -> str | None:
    """Also servers, which are not on everybody's PATH."""
    return shutil.which(name) or shutil.which(name, path=_SERVER_DIRECTORIES)


def lacking(*names: str) -> str | None:
    """What to say of the first that there is not."""
    for name in names:
        if not which(name):
            return f"{name} is not installed"
    return None


def _both(place: Place, receiver: Timed, sender: Timed, started: float) -> Run:
    """Of programs whose sender ends before the receiver has everything: until both have ended."""
    sent = sender.wait(place.limit_seconds)
    received = receiver.wait(place.limit_seconds)
    return Run(time.monotonic() - started, sent.end, received.end)


@dataclass(frozen=True)
class Socat:
    """One file, in pieces of 1 MiB."""

    def missing(self, place: Place) -> str | None:
        return lacking("socat")

    def run(self, place: Place) -> Run:
        host, port = place.network.host, free_port(place.network.host)
        listen = f"TCP-LISTEN:{port},bind={host},reuseaddr"
        receiver = place.receiving(
            "receive", "socat", "-u", "-b", "1048576", listen, f"CREATE:{place.target}"
        )
        receiver.await_listener(port)
        started = time.monotonic()
        sender = place.sending(
            "send", "socat", "-u", "-b", "1048576", f"FILE:{place.source}", f"TCP:{host}:{port}"
        )
        return _both(place, receiver, sender, started)


@dataclass(frozen=True)
class Netcat:
    """One file by redirection, a tree through tar at both ends."""

    def missing(self, place: Place) -> str | None:
        obstacle = lacking("nc", "tar", "bash")
        if obstacle is None and "openbsd" not in os.path.realpath(which("nc") or ""):
            return "nc is not that of OpenBSD (package netcat-openbsd)"
        return obstacle

    def run(self, place: Place) -> Run:
        host, port = place.network.host, str(free_port(place.network.host))
        if place.work.kind == "file":
            send, receive = 'exec nc -N "$1" "$2" <"$3"', 'exec nc -l "$1" "$2" >"$3"'
        else:
            place.target.mkdir()
            send = 'set -o pipefail; tar -C "$3" -cf - . | nc -N "$1" "$2"'
            receive = 'set -o pipefail; nc -l "$1" "$2" | tar -C "$3" -xpf -'
        receiver = place.receiving("receive", "bash", "-c", receive, "nc", host, port, place.target)
        receiver.await_listener(int(port))
        started = time.monotonic()
        sender = place.sending("send", "bash", "-c", send, "nc", host, port, place.payload())
        return _both(place, receiver, sender, started)


def served(place: Place, server: Timed, sender: Timed) -> Run:
    """Of a client that knows when everything has arrived. The server is ended for its bill."""
    sent = sender.wait(place.limit_seconds)
    return Run(sent.seconds, sent.end, server.stop().end)


@dataclass(frozen=True)
class Rsync:
    """A daemon, whole files: -aW."""

    def missing(self, place: Place) -> str | None:
        return lacking("rsync")

    def run(self, place: Place) -> Run:
        port = free_port(place.network.host)
        config = place.scratch / "rsyncd.conf"
        # Only root may confine it, and only a confined one leaves symbolic links as they are.
        root = os.geteuid() == 0
        settings = {"use chroot": "yes" if root else "no", "munge symlinks": "no"}
        if root:
            settings |= {"uid": "0", "gid": "0"}
        config.write_text(
            f"port = {port}\naddress = {place.network.host}\n"
            f"pid file = {place.scratch}/rsyncd.{port}.pid\n"
            f"[bench]\npath = {place.target.parent}\nread only = no\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        server = place.receiving(
            "receive", "rsync", "--daemon", "--no-detach", f"--config={config}"
        )
        server.await_listener(port)
        slash = "/" if place.work.kind == "tree" else ""
        url = f"rsync://{place.network.host}:{port}/bench/{place.target.name}{slash}"
        sender = place.sending("send", "rsync", "-aW", f"{place.source}{slash}", url)
        return served(place, server, sender)


_NGINX_CONFIG = """\
daemon off;
master_process off;
{user}
error_log stderr;
pid {scratch}/nginx.pid;
events {{}}
http {{
    access_log off;
    sendfile on;
    sendfile_max_chunk 0;
    tcp_nopush on;
    client_body_temp_path {scratch}/nginx-body;
    proxy_temp_path {scratch}/nginx-proxy;
    fastcgi_temp_path {scratch}/nginx-fastcgi;
    uwsgi_temp_path {scratch}/nginx-uwsgi;
    scgi_temp_path {scratch}/nginx-scgi;
    server {{
        listen {host}:{port};
        root {root};
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """The other way round: nginx sends by sendfile(2), curl fetches and writes."""

    def missing(self, place: Place) -> str | None:
        return lacking("nginx", "curl")

    def run(self, place: Place) -> Run:
        # The file lies at this end, so this is where the server is.
        host, port = "127.0.0.1", free_port("127.0.0.1")
        config = place.scratch / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(
            _NGINX_CONFIG.format(
                host=host, port=port, scratch=place.scratch, root=place.payload().parent, user=user
            )
        )
        server = place.sending(
            "send", which("nginx") or "nginx", "-e", "stderr", "-p", place.scratch, "-c", config
        )
        server.await_listener(port)
        url = f"http://{host}:{port}/{place.payload().name}"
        fetch = place.receiving(
            "receive", "curl", "--silent", "--show-error", "--fail", "-o", place.target, url
        ).wait(place.limit_seconds)
        return Run(fetch.seconds, server.stop().end, fetch.end)


@dataclass(frozen=True)
class Iperf:
    """No file at all: what the network itself carries."""

    zero_copy: bool = False

    def missing(self, place: Place) -> str | None:
        return lacking("iperf3")

    def run(self, place: Place) -> Run:
        host, port = place.network.host, free_port(place.network.host)
        server = place.receiving(
            "receive", "iperf3", "--server", "--one-off", "--bind", host, "--port", str(port)
        )
        server.await_listener(port)
        words = ["--client", host, "--port", str(port), "--bytes", str(place.work.bytes)]
        if self.zero_copy:
            words.append("--zerocopy")
        sender = place.sending("send", "iperf3", "--json", *words)
        sent = sender.wait(place.limit_seconds)
        received = server.wait(place.limit_seconds)
        # Not the wall time: it spends several round trips before and after.
        try:
            bits = json.loads(sender.out.read_text())["end"]["sum_received"]["bits_per_second"]
            seconds = place.work.bytes * 8 / bits
        except (ValueError, KeyError, ZeroDivisionError):
            raise Failure("iperf3: its report has no rate") from None
        return Run(seconds, sent.end, received.end, stored=False)

"""What the figures depend on: the machine, its kernel, its network settings, its programs."""

from __future__ import annotations

import datetime
import os
import platform
import re
import ssl
import subprocess
from pathlib import Path

from .memory import is_virtual, memory
from .tools import Programs
from .units import GIB

_BUSY_LOAD_PER_CORE = 0.25
# What AES-GCM is fast by, as x86 and ARM name it.
_CIPHER_FLAGS = ("aes", "vaes", "pclmulqdq", "vpclmulqdq", "pmull")


def _first_line(*command: str | Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip().partition("\n")[0] or "unknown"


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    return match[1] if match else platform.machine()


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys/net", name).read_text().strip()
    except OSError:
        return "unknown"


def _ciphers() -> str:
    """What encrypting costs depends on. Python's OpenSSL is the one that sluice runs with."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    has = set(match[1].split()) if match else set()
    flags = " ".join(flag for flag in _CIPHER_FLAGS if flag in has) or "no instructions for AES"
    kernel = "tls" in _setting("ipv4/tcp_available_ulp").split()
    return f"{ssl.OPENSSL_VERSION}; {flags}; kernel TLS {'loaded' if kernel else 'not loaded'}"


def gather(programs: Programs, directory: Path) -> dict[str, str]:
    """In the order in which it is shown."""
    kind = subprocess.run(
        ["df", "--output=fstype", directory], capture_output=True, text=True, check=False
    ).stdout.split()
    load = os.getloadavg()[0]
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "sluice": _first_line(programs.send, "--version"),
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "ciphers": _ciphers(),
        "memory": f"{memory('MemTotal') / GIB:.1f} GiB",
        "file system": kind[-1] if kind else "unknown",
        "congestion control": f"{_setting('ipv4/tcp_congestion_control')} by default, "
        f"{_setting('ipv4/tcp_allowed_congestion_control')} allowed to everyone",
        "queueing discipline": _setting("core/default_qdisc"),
        "load before": f"{load:.2f}",
    }


def warnings(environment: dict[str, str], largest: int, hold_memory: bool) -> list[str]:
    """What makes the figures worse than they should be."""
    lines = []
    if float(environment["load before"]) > _BUSY_LOAD_PER_CORE * int(environment["cores"]):
        lines.append(
            f"the machine is busy (load {environment['load before']}): expect noise; "
            "ratios within one run are better than seconds"
        )
    if 3 * largest > memory("MemAvailable"):
        lines.append("memory does not hold three times the file: the disk is part of the figures")
    if is_virtual() and not hold_memory:
        lines.append(
            "a virtual machine: if its host takes free memory back, times scatter; "
            "--hold-memory helps"
        )
    return lines

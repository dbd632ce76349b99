"""Try the proxies that streams go through, and write the table of README.md beside this file.

    python -m tests.compatibility.proxies                   all that are installed
    python -m tests.compatibility.proxies Envoy Caddy       these, by how their names begin

Each runs on this machine, before a server that breaks its streams; a program asks through it, by the SDK alone and
guarded, and so does the doctor. Prints what came of it, writes results.json and the table, and exits with 1 if a
guarded stream came to anything but the whole answer or the typed error. Half a minute for each configuration.
`nox -f .ci/noxfile.py -s proxies_table` installs them all first.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import logging
import re
import subprocess
import sys

from openai_stream_guard.testing import Server
from tests.support.running import find

from .cases import BROKEN, ENDS, EXAMINED
from .results import Row, rewrite_readme, save, unkept
from .roster import PROXIES, Proxy
from .trial import before, doctor, stream

VERSION = {"nginx": "-v", "haproxy": "-v", "apache2": "-v", "squid": "-v", "caddy": "version"}
"""What makes a program say its version; others take `--version`."""


def version_of(proxy: Proxy) -> str:
    """What its program, or the package it came in, says."""
    if proxy.program == "faulty":  # which has no word for it
        return importlib.metadata.version(proxy.package)
    command = [str(find(proxy.program)), VERSION.get(proxy.program, "--version")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    found = re.search(r"\d+(\.\d+)+", process.stdout + process.stderr)
    return found[0] if found else ""


def tried(proxy: Proxy) -> Row:
    """Everything there is to try with one configuration."""
    print(f"\n== {proxy.name}")
    alone, guarded, said = {}, {}, {}
    with Server() as server, before(server, proxy) as (_, url):
        for case in BROKEN:
            alone[case.name] = stream(server, url, case, guard=False).words
            guarded[case.name] = stream(server, url, case, guard=True).words
            print(f"the server {case.name}: {alone[case.name]}, guarded: {guarded[case.name]}", flush=True)
        every_time = stream(server, url, ENDS, guard=True, times=4).words
        print(f"every time: {every_time}")
        for case in EXAMINED:
            visit = doctor(server, url, case)
            said[case.name] = ": ".join([visit.verdict, *list(visit.findings)[:1]])
            print(f"the server {case.name}, the doctor: {visit.verdict}")
            print(*(f"    {name}: {what}" for name, what in visit.findings.items()), sep="\n", flush=True)
    today = datetime.date.today().isoformat()
    return Row(proxy.name, version_of(proxy), today, alone, guarded, every_time, said)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.compatibility.proxies", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="how the names begin; none: all that are installed")
    asked = parser.parse_args()
    logging.getLogger("openai_stream_guard").addHandler(logging.NullHandler())
    wanted = [proxy for proxy in PROXIES if proxy.name.startswith(tuple(asked.names) or "")]
    if not wanted:
        parser.error(f"no such proxy: there are {', '.join(proxy.name for proxy in PROXIES)}")
    missing = {proxy.missing for proxy in wanted if find(proxy.program) is None}
    rows = [tried(proxy) for proxy in wanted if find(proxy.program) is not None]
    save(rows)
    rewrite_readme()
    print("", *(f"not tried: {reason}" for reason in sorted(missing)), sep="\n")
    broken = [line for row in rows for line in unkept(row)]
    print("guarded, but neither whole nor the typed error:" if broken else "every guarded stream: whole, or typed")
    print(*broken, sep="\n")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()

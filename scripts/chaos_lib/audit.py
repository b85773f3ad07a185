"""Edits of the audit log behind the daemon's back: a flipped bit, a deleted or swapped record, a tail that was cut off, a log that
was written anew with all its digests. Each time the check must name the right record. Most are checked by the library; the last
of every store by a real daemon and `freshet audit verify`."""

import json
import pathlib
import shutil
import subprocess

from freshet_daemon import Daemon
from power import directory, in_memory

SUMMARY = "records of the audit log are flipped, deleted, moved, cut off; the check must name each"

EDITS = 50  # of one store

_failures = {}  # by seed
_done = set()


def tool(options, *arguments, check=True):
    return subprocess.run([options.binaries / "freshet-audit-edits", *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                          check=check, timeout=300, env=in_memory(options))


def edit_block(first, case, options):
    """One store and its edits; `first` is the seed of the first, `first + EDITS - 1` that of the daemon's."""
    with directory() as name:
        folder = pathlib.Path(name).resolve() / "data"
        folder.mkdir()
        tool(options, "make", folder / "store", first)
        done = tool(options, "run", folder / "store", folder / "scratch", first, EDITS - 1, check=False)
        lines = done.stdout.splitlines()
        if done.returncode not in (0, 1) or not lines or not lines[-1].startswith(f"{EDITS - 1} edits"):
            raise RuntimeError(f"the edits from seed {first} on ended with {done.returncode}")
        for line in lines[:-1]:
            if line.startswith("seed "):
                _failures[int(line.split()[1].rstrip(","))] = line
            else:
                kind, _, times = line.rpartition(": ")
                case.add(kind, int(times))
        verify_with_daemon(folder, first + EDITS - 1, case, options)


def verify_with_daemon(folder, seed, case, options):
    store = folder / "store"
    heads = shutil.copy(store / "heads", folder / "heads")
    revision, _, text = tool(options, "edit", store, seed).stdout.strip().partition(" ")
    daemon = Daemon(options.binaries, folder, options=["--no-local-agent"])
    try:
        daemon.start()
        done = daemon.cli("audit", "verify", "--head", str(heads), "--json", check=False)
    finally:
        daemon.stop()
    named = json.loads(done.stdout or "{}").get("problem", {})
    case.add("through a daemon and the command line")
    if done.returncode != 1 or named.get("revision") != revision:
        _failures[seed] = f"seed {seed}, {text}: `freshet audit verify` exited with {done.returncode} and named {named}"


def run(case, options):
    first = case.seed - case.seed % EDITS
    if first not in _done:
        _done.add(first)
        edit_block(first, case, options)
    case.add("edits")
    if case.seed in _failures:
        raise RuntimeError(_failures[case.seed])

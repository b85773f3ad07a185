"""Power cuts. Programs run on the recorder of tests/power, which logs every file operation; a cut then leaves what a disk may
hold at that instant, without what was not synced, and the real code opens it and is compared with what it had promised."""

import os
import pathlib
import subprocess
import tempfile

SUMMARY = "power is cut while files are written; all that was promised must be there"

KINDS = ["store", "artifacts", "agent", "checkpoints", "training"]
CUTS = 25  # of one recording

_failures = {}  # by seed, of the recordings made so far
_done = set()


def add_arguments(parser):
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS, metavar="KIND,...",
                        help=f"which programs (default {','.join(KINDS)})")
    parser.add_argument("--program", default="freshet-power", help="a build of it without some sync must fail")


def directory():
    """In memory where there is room: what a cut leaves is written anew for each."""
    memory = pathlib.Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="freshet-power-", dir=memory if os.access(memory, os.W_OK) else None)


def in_memory(options):
    """An environment in which files that are made in memory get no space set aside, which there means zeros."""
    return os.environ | {"LD_PRELOAD": str(options.binaries / "freshet_power_recorder.so")}


def record(kind, folder, seed, options):
    (folder / "root").mkdir()
    environment = in_memory(options) | {"POWER_ROOT": str(folder / "root"), "POWER_LOG": str(folder / "log"),
                                        "POWER_ACKS": str(folder / "acks")}
    subprocess.run([options.binaries / options.program, "record", kind, folder / "root", str(seed)], env=environment,
                   check=True, timeout=60)


def cut_block(first, options):
    """One recording and its cuts; `first` is the seed of the first."""
    kind = options.kinds[first // CUTS % len(options.kinds)]
    with directory() as name:
        folder = pathlib.Path(name).resolve()
        record(kind, folder, first, options)
        done = subprocess.run([options.binaries / options.program, "cut", kind, folder / "root", folder / "log",
                               folder / "scratch", str(first), str(CUTS)], stdout=subprocess.PIPE, text=True, check=False,
                              env=in_memory(options), timeout=300)
    lines = done.stdout.splitlines()
    if done.returncode not in (0, 1) or not lines or not lines[-1].startswith(f"{CUTS} cuts"):
        raise RuntimeError(f"{kind}: the cuts from seed {first} on ended with {done.returncode}")
    for line in lines[:-1]:
        _failures[int(line.split("seed ")[1].split(",")[0])] = line
    return kind


def run(case, options):
    first = case.seed - case.seed % CUTS
    if first not in _done:
        _done.add(first)
        kind = cut_block(first, options)
        case.add(f"recordings of {kind}")
    case.add("cuts")
    if case.seed in _failures:
        raise RuntimeError(_failures[case.seed])

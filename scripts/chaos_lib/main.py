"""scripts/chaos KIND --count N: one module of this folder for each kind, in which SUMMARY says what it does, and
run(case, options) does it once or raises. A kind that has JOBS runs so many times at once unless told otherwise. What a kind
starts it ends, each process by its id."""

import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts/demo_lib"))

KINDS = {path.stem.replace("_", "-"): path.stem for path in sorted(pathlib.Path(__file__).parent.glob("*.py"))
         if path.stem != "main" and not path.stem.startswith("with_")}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Breaks real processes on purpose, again and again, and checks after each time what was promised.",
        epilog="Examples:\n  scripts/chaos acks --count 10\n  scripts/chaos adopt --count 1 --seed 4711   # again, as it failed")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, module_name in KINDS.items():
        module = importlib.import_module(module_name)
        sub = kinds.add_parser(kind, help=module.SUMMARY, description=module.SUMMARY)
        sub.add_argument("--count", type=int, default=10, help="how many times (default 10)")
        sub.add_argument("--seed", type=int, default=1, help="of the first time; each later one has the next (default 1)")
        sub.add_argument("--build-dir", type=pathlib.Path, default=ROOT / "build/cpu", help="default: build/cpu")
        sub.add_argument("--results", type=pathlib.Path, help="also write the summary there as JSON")
        sub.add_argument("--quiet", action="store_true", help="only the summary and what failed")
        if hasattr(module, "JOBS"):
            sub.add_argument("--jobs", type=int, default=module.JOBS, help=f"how many at once (default {module.JOBS})")
        if hasattr(module, "add_arguments"):
            module.add_arguments(sub)
    options = parser.parse_args()
    options.binaries = options.build_dir.absolute() / "bin"
    return options


class Case:
    """One time: `random` is drawn from its seed; what add() counts is summed over all times."""

    def __init__(self, seed, totals, quiet):
        self.seed = seed
        self.random = random.Random(seed)
        self._totals = totals
        self._quiet = quiet

    _lock = threading.Lock()  # of all totals

    def add(self, name, count=1):
        with self._lock:
            self._totals[name] = self._totals.get(name, 0) + count

    def worst(self, name, value):
        with self._lock:
            self._totals[name] = max(self._totals.get(name, value), value)

    def say(self, text):
        if not self._quiet:
            print(f"{self.seed}: {text}", flush=True)


def main():
    options = parse()
    module = importlib.import_module(KINDS[options.kind])
    totals, failed, started = {}, [], time.monotonic()

    def once(seed):
        try:
            module.run(Case(seed, totals, options.quiet), options)
        except Exception:  # whatever went wrong, this time has failed and the next is tried
            failed.append(seed)
            print(f"{seed}: FAILED\n{traceback.format_exc()}", end="", flush=True)
    count = module.times(options) if hasattr(module, "times") else options.count
    with concurrent.futures.ThreadPoolExecutor(getattr(options, "jobs", 1)) as pool:
        list(pool.map(once, range(options.seed, options.seed + count)))
    if hasattr(module, "finish"):
        module.finish(totals, options)
    for name, value in sorted(totals.items()):
        print(f"{name}: {value:.3f}" if isinstance(value, float) else f"{name}: {value}")
    if options.results:
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        options.results.write_text(json.dumps(
            {"command": " ".join(sys.argv[1:]), "commit": commit.stdout.strip(), "cores": os.cpu_count(), "done": count,
             "failed": sorted(failed), "seconds": round(time.monotonic() - started, 1), **totals}, indent=1) + "\n")
    for seed in sorted(failed):
        print(f"failed: scripts/chaos {options.kind} --count 1 --seed {seed}")
    print(f"{count} done, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

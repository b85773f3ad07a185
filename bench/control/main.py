"""bench/control/run: Freshet's control plane and Slurm's, on this machine, in turns. Nothing acknowledged may be lost before a
rate is printed. What it starts it ends, each process by its id."""

import argparse
import datetime
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path += [str(ROOT / "scripts/demo_lib"), str(ROOT / "scripts/chaos_lib")]

import rates  # noqa: E402
import slurm as slurm_controller  # noqa: E402
import with_table  # noqa: E402
from freshet_daemon import Daemon, wait_for  # noqa: E402

CHECKED_BY_NAME = 300


class Size:
    def __init__(self, rounds, seconds, queue, slurm_queue, kills):
        self.rounds, self.seconds, self.queue, self.slurm_queue, self.kills = rounds, seconds, queue, slurm_queue, kills


FULL, QUICK, SMOKE = Size(3, 3.0, 100_000, 10_000, 4), Size(2, 1.0, 10_000, 2_000, 1), Size(1, 0.3, 300, 0, 0)


def parse():
    parser = argparse.ArgumentParser(prog="bench/control/run", description=__doc__,
                                     epilog="Needs Debian's slurmctld, slurm-client, munge and libslurm-dev: --install.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and shorter queues")
    parser.add_argument("--smoke", action="store_true", help="Freshet alone, as small as it gets: does the benchmark work?")
    parser.add_argument("--install", action="store_true", help="install Slurm's packages first (apt-get, as root)")
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / "build/cpu/bin", help="default: build/cpu/bin")
    options = parser.parse_args()
    options.size = SMOKE if options.smoke else QUICK if options.quick else FULL
    return options


def fresh_daemon(template, directory, options):
    shutil.copytree(template, directory)
    daemon = Daemon(options.binaries, directory, options=["--no-local-agent", "--log-level", "warning"])
    return daemon.start(60)


def metrics(daemon):
    _, _, text = daemon.api.raw("GET", "/metrics", token=False)
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def check_runs(daemon, ids):
    """All acknowledged runs are there: their number, and as many by name as takes no time."""
    queued = int(metrics(daemon)['freshet_runs{state="QUEUED"}'])
    if len(set(ids)) != len(ids) or queued != len(ids):
        raise RuntimeError(f"{len(ids)} submits were acknowledged, {len(set(ids))} ids given out, {queued} runs are queued")
    for run_id in ids[::max(1, len(ids) // CHECKED_BY_NAME)]:
        daemon.api.run(run_id)


def check_jobs(slurm, ids):
    there = slurm.job_ids()
    if set(ids) != there or len(set(ids)) != len(ids):
        raise RuntimeError(f"{len(ids)} submits were acknowledged, {len(set(ids))} ids given out, {len(there)} jobs are queued")


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, ours, theirs="-", ratio=""):
        self.rows.append((what, ours, theirs, ratio))
        print(f"  {what}: {ours} | {theirs} {ratio}", file=sys.stderr, flush=True)

    def text(self):
        lines = ["| what | Freshet | Slurm | ratio |", "|---|---|---|---|"]
        return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in self.rows])


def median(results, name):
    return statistics.median(result[name] for result in results)


def rate_of(results):
    return statistics.median(result["acknowledged"] / result["seconds"] for result in results)


def measure_rates(template, directory, slurm, options, table):
    size, load = options.size, options.binaries / "submit_load"
    daemon = fresh_daemon(template, directory / "rates", options)
    ids_file = directory / "ids"
    ids_file.touch()
    cli_ids, job_ids = [], []
    ours = {"HTTP, 1 connection": [], "HTTP, 8 connections": [], "HTTP, 32 connections": [], "CLI": [], "CLI, 8 at a time": []}
    theirs = {"libslurm": [], "libslurm, 8 programs": [], "sbatch": [], "sbatch, 8 at a time": []}
    try:
        for _ in range(size.rounds):
            for name, connections in zip(list(ours)[:3], (1, 8, 32)):
                ours[name].append(rates.freshet_http(load, daemon, connections, ids_file, size.seconds))
            for name, parallel in zip(list(ours)[3:], (1, 8)):
                ours[name].append(rates.freshet_cli(daemon, parallel, size.seconds))
                cli_ids += ours[name][-1]["ids"]
            if slurm:
                for name, run in (("libslurm", rates.slurm_api), ("sbatch", rates.sbatch)):
                    theirs[name].append(run(slurm, 1, size.seconds))
                    more = name + (", 8 programs" if name == "libslurm" else ", 8 at a time")
                    theirs[more].append(run(slurm, 8, size.seconds))
                    job_ids += theirs[name][-1]["ids"] + theirs[more][-1]["ids"]
        check_runs(daemon, ids_file.read_text().split() + cli_ids)
        if slurm:
            check_jobs(slurm, job_ids)
    finally:
        daemon.stop_daemon()
    add_rates(table, ours, theirs if slurm else None)


def add_rates(table, ours, theirs):
    pairs = [("CLI", "sbatch", "a process for each submit, one at a time"),
             ("CLI, 8 at a time", "sbatch, 8 at a time", "a process for each submit, 8 at a time"),
             ("HTTP, 1 connection", "libslurm", "a client in C or C++, one at a time"),
             ("HTTP, 8 connections", "libslurm, 8 programs", "8 clients in C or C++"),
             ("HTTP, 32 connections", None, "32 connections")]
    for our_name, their_name, what in pairs:
        mine, other = ours[our_name], theirs[their_name] if theirs and their_name else None
        rate = rate_of(mine)
        table.add(f"submits/s, {what}", f"{rate:.0f}", f"{rate_of(other):.0f}" if other else "-",
                  f"{rate / rate_of(other):.1f} x" if other else "")
        table.add(f"acknowledged in p50 / p99 ms, {what}", f"{median(mine, 'p50_ms'):.2f} / {median(mine, 'p99_ms'):.2f}",
                  f"{median(other, 'p50_ms'):.2f} / {median(other, 'p99_ms'):.2f}" if other else "-",
                  f"{median(other, 'p99_ms') / median(mine, 'p99_ms'):.1f} x" if other else "")
    if theirs:
        best = max(rate_of(ours[name]) for name in ours)
        their_best = max(rate_of(theirs[name]) for name in theirs)
        table.add("submits/s, the best of each", f"{best:.0f}", f"{their_best:.0f}", f"{best / their_best:.1f} x")


def measure_idle_latency(template, directory, slurm, options, table):
    daemon = fresh_daemon(template, directory / "idle", options)
    count = 20 if options.smoke else 300
    try:
        mine = rates.freshet_http(options.binaries / "submit_load", daemon, 1, directory / "idle.ids", count=count, pause_ms=5)
    finally:
        daemon.stop_daemon()
    other = rates.slurm_api(slurm, 1, count=count) if slurm else None
    table.add("acknowledged in p50 / p99 ms, nothing else happens", f"{mine['p50_ms']:.2f} / {mine['p99_ms']:.2f}",
              f"{other['p50_ms']:.2f} / {other['p99_ms']:.2f}" if other else "-")


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return 0


def measure_queue(template, directory, slurm, options, table):
    size, load, ids_file = options.size, options.binaries / "submit_load", directory / "queue.ids"
    daemon = fresh_daemon(template, directory / "queue", options)
    probe = 20 if options.smoke else 300
    try:
        filled = rates.freshet_http(load, daemon, 8, ids_file, count=size.queue)
        deep = rates.freshet_http(load, daemon, 1, ids_file, count=probe, pause_ms=2)
        check_runs(daemon, ids_file.read_text().split())
        daemon.kill()
        begin = time.monotonic()
        daemon.start(60)
        daemon.api.get("/api/v1/runs", state="QUEUED", page_size=100)
        rates.freshet_http(load, daemon, 1, ids_file, count=1)
        ready = time.monotonic() - begin
        after = rates.freshet_http(load, daemon, 1, ids_file, count=probe, pause_ms=2)
        check_runs(daemon, ids_file.read_text().split())
        scrapes = []
        for _ in range(7):
            begin = time.monotonic()
            metrics(daemon)
            scrapes.append(1000 * (time.monotonic() - begin))
        memory = resident_mib(daemon.process.pid)
    finally:
        daemon.stop_daemon()
    theirs = measure_slurm_queue(slurm, size) if slurm else None
    table.add("queue", f"{size.queue} runs", f"{size.slurm_queue} jobs" if theirs else "-")
    table.add("submits/s until it is so long", f"{filled['acknowledged'] / filled['seconds']:.0f}",
              f"{theirs['rate']:.0f}" if theirs else "-")
    table.add("killed; from start to the first answered list and submit, s", f"{ready:.2f}",
              f"{theirs['ready']:.2f}" if theirs else "-")
    table.add("acknowledged in p50 / p99 ms with that queue", f"{deep['p50_ms']:.2f} / {deep['p99_ms']:.2f}",
              f"{theirs['p50_ms']:.2f} / {theirs['p99_ms']:.2f}" if theirs else "-")
    table.add("the same after the restart", f"{after['p50_ms']:.2f} / {after['p99_ms']:.2f}")
    table.add("/metrics, ms", f"{statistics.median(scrapes):.1f}")
    table.add("resident memory, MiB", str(memory), str(theirs["memory"]) if theirs else "-")


def measure_slurm_queue(slurm, size):
    """Ended with SIGTERM, so that it saves its state: what SIGKILL does to it is another row."""
    filled = rates.slurm_api(slurm, 8, count=size.slurm_queue // 8)
    deep = rates.slurm_api(slurm, 1, count=100)
    slurm.stop()
    begin = time.monotonic()
    slurm.start()
    slurm.submit()
    ready = time.monotonic() - begin
    return {"rate": filled["acknowledged"] / filled["seconds"], "p50_ms": deep["p50_ms"], "p99_ms": deep["p99_ms"],
            "ready": ready, "memory": resident_mib(slurm.controller.pid)}


def measure_losses(template, directory, slurm, options, table):
    """Five acknowledged submits, then SIGKILL: how many are there after the next start?"""
    submits, lost_runs, lost_jobs = 5, 0, 0
    daemon = fresh_daemon(template, directory / "losses", options)
    try:
        for repetition in range(options.size.kills):
            for wait in ([0, 1, 2, 3, 4] if options.size is FULL else [0, 1]):
                run_ids = [daemon.api.post("/api/v1/runs", {"pipeline": "prices"})["id"] for _ in range(submits)]
                job_ids = [slurm.submit() for _ in range(submits)]
                time.sleep(wait)
                daemon.kill()
                slurm.stop(9)
                daemon.start()
                slurm.start()
                there = slurm.job_ids()
                lost_jobs += sum(job not in there for job in job_ids)
                known = {run["id"] for run in daemon.api.get("/api/v1/runs", page_size=1000)["runs"]}
                lost_runs += sum(run not in known for run in run_ids)
    finally:
        daemon.stop_daemon()
    total = submits * options.size.kills * (5 if options.size is FULL else 2)
    table.add(f"SIGKILL 0 to {4 if options.size is FULL else 1} s after {submits} acknowledged submits: lost",
              f"{lost_runs} of {total}", f"{lost_jobs} of {total}")


def describe(options):
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True).stdout
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    size = "--quick" if options.quick else "--smoke" if options.smoke else ""
    return (f"command: bench/control/run {size}\ncommit: {commit.strip()}\ndate: {datetime.date.today()}\n"
            f"machine: {os.cpu_count()} cores, {model}; load average before: {load}")


def main():
    options = parse()
    if options.install:
        slurm_controller.install()
    if not options.smoke and not slurm_controller.is_installed():
        sys.exit("bench/control/run: Slurm is not installed: run it with --install as root, or "
                 f"`apt-get install {' '.join(slurm_controller.PACKAGES)}`")
    print(describe(options) + "\n", flush=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="freshet-control-bench."))
    slurm, table, began = None, Table(), time.monotonic()
    try:
        with_table.make_queue(options.binaries, directory / "template")
        if not options.smoke:
            slurm = slurm_controller.Slurm(directory / "slurm")
            slurm.start()
        measure_rates(directory / "template", directory, slurm, options, table)
        measure_idle_latency(directory / "template", directory, slurm, options, table)
        measure_queue(directory / "template", directory, slurm, options, table)
        if slurm:
            measure_losses(directory / "template", directory, slurm, options, table)
    finally:
        if slurm:
            slurm.remove()
        shutil.rmtree(directory, ignore_errors=True)
    print(table.text())
    print(f"\n{time.monotonic() - began:.0f} s, load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

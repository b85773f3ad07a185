"""bench/gpu/run: checks the GPU side on this machine, then times it beside PyTorch, and prints one table last. Works on a machine
that has a driver, PyTorch, and the folder that bench/gpu/pack made. Each section is a process with a time-out of its own: what
goes wrong in one is a row, and the others go on. When time runs short the last sections are left out."""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import goals
import shapes

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent

# (name, the goals it measures, seconds that it is not worth starting with less than, seconds that it may take; in full and --quick).
# In order of importance: the last are left out first. Only the first two run while PyTorch compiles.
SECTIONS = [
    ("tests", ["tests", "ranks"], (10, 100), (10, 30)),
    ("sanitizer", ["sanitizer"], (10, 50), (10, 20)),
    ("ceilings", ["copy", "product"], (10, 60), (8, 20)),
    ("gpt", ["losses", "gradients", "124M B=64", "mfu 124M", "peak memory"], (40, 170), (30, 60)),
    ("attention", ["attention forward", "attention backward"], (15, 70), (10, 20)),
    ("memory_bound", ["memory-bound"], (10, 30), (8, 15)),
    ("small_batch", ["124M B=4", "host"], (25, 110), (20, 35)),
    ("snapshot", ["snapshot", "determinism"], (10, 30), (8, 15)),
    ("large_350M", ["mfu 350M"], (15, 60), (15, 30)),
    ("large_774M", ["mfu 774M"], (20, 60), (20, 30)),
    ("large_1558M", ["mfu 1558M", "fp8"], (25, 120), (25, 40)),
    ("recommender", ["embedding", "dlrm"], (30, 110), (15, 25)),
    ("products", [], (15, 70), (10, 20)),
]
BESIDE_COMPILING = ("tests", "sanitizer")


def parse():
    parser = argparse.ArgumentParser(prog="bench/gpu/run", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under two minutes instead of eight")
    parser.add_argument("--rehearse", action="store_true", help="all of it without a GPU: the emulation, tiny shapes, PyTorch on "
                        "the CPU where it is installed; no figures worth keeping")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when something failed, not only say so")
    parser.add_argument("--only", default="", metavar="NAMES", help="sections, with commas between: "
                        + ", ".join(name for name, *_ in SECTIONS))
    parser.add_argument("--seconds", type=int, help="that all may take; default: 470, with --quick 115")
    parser.add_argument("--binaries", type=pathlib.Path, help="default: build/cuda/gpu-bench, or its .tar.gz; with "
                        "--rehearse build/cpu/bin")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench/results", help="default: bench/results")
    parser.add_argument("--python", help="an interpreter with PyTorch; default: this one; with --rehearse .deps/torch's; 'none'")
    options = parser.parse_args()
    options.seconds = options.seconds or (1200 if options.rehearse else 115 if options.quick else 470)
    options.binaries = (options.binaries or ROOT / ("build/cpu/bin" if options.rehearse else "build/cuda/gpu-bench")).resolve()
    options.results = options.results.resolve()
    if options.python is None:
        rehearsal = pathlib.Path(os.environ["FRESHET_DEPS_DIR"]) / "torch/bin/python"
        options.python = sys.executable if not options.rehearse else str(rehearsal) if rehearsal.exists() else "none"
    return options


def output_of(*command):
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace", timeout=60)
        return done.stdout.strip() if done.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def library_folders(python):
    """Where the packages of PyTorch keep cuBLASLt and NCCL; else the toolkit's."""
    script = ("import glob, sys, sysconfig\n"
              "for name in 'libcublasLt.so.13', 'libnccl.so.2':\n"
              "    for base in sys.path + [sysconfig.get_paths()['purelib']]:\n"
              "        print(*glob.glob(f'{base}/nvidia/*/lib*/{name}') if base else '', sep='\\n')\n")
    found = [str(pathlib.Path(line).parent) for line in output_of(python, "-c", script).splitlines() if line]
    return list(dict.fromkeys(found)) or ["/usr/local/cuda/lib64"]


class Session:
    """One run: its options, its folder for temporary files, and what it has found so far."""

    def __init__(self, options, work):
        self.options, self.work, self.began = options, work, time.monotonic()
        options.results.mkdir(parents=True, exist_ok=True)
        stem = f"gpu-{'rehearsal-' if options.rehearse else ''}{datetime.date.today()}"
        self.markdown, self.raw, self.log = (options.results / f"{stem}{end}" for end in (".md", ".jsonl", ".log"))
        self.raw.write_text("")
        self.log.write_text("")
        self.environment = dict(os.environ)
        if options.python != "none":
            folders = [*library_folders(options.python), os.environ.get("LD_LIBRARY_PATH", "")]
            self.environment["LD_LIBRARY_PATH"] = ":".join(folder for folder in folders if folder)
        self.environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(work / "inductor"))
        self.environment.setdefault("HOME", str(work))
        self.reasons = {}
        # What bench/gpu/pack made of the folder.
        archive = options.binaries.with_name(options.binaries.name + ".tar.gz")
        if not options.binaries.exists() and archive.exists():
            options.binaries = work / "programs"
            shutil.unpack_archive(archive, options.binaries)

    def left(self):
        return self.options.seconds - (time.monotonic() - self.began)

    def start(self, command, log, **more):
        """In a process group of its own, so that all that it starts can be ended with it."""
        return subprocess.Popen([str(part) for part in command], env=self.environment, stderr=log, start_new_session=True, text=True,
                                **more)

    def lines(self):
        """Those that are whole: a process that is ended may leave a part of one."""
        found = []
        for line in self.raw.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                print(f"bench/gpu/run: a row was cut off: {line[:100]}", file=sys.stderr)
        return found

    def failures(self):
        return [line for line in self.lines() if line.get("problem") or str(line.get("value")).strip("*").lower() in ("failed", "errors")]

    def write(self, description):
        """The table of what is known by now; its text."""
        rows = [line for line in self.lines() if "goal" in line]
        safe = [f"**Our fastest kernels failed; from there on without them (--safe): {line['safe']}**\n"
                for line in self.lines() if "safe" in line][:1]
        text = "\n".join([*description, *safe, *goals.table(rows, self.reasons), *goals.more(rows), "",
                          f"{time.monotonic() - self.began:.0f} s. {shapes.NOTES}", ""])
        self.markdown.write_text(text)
        return text


def end(process):
    """All of its group, and what memory it has on the device; not longer than some seconds, whatever state a driver leaves it in."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
        except ProcessLookupError:
            return
        time.sleep(0.1)


class WarmUp:
    """Lets PyTorch compile, beside the tests, what will be timed: its caches then hold it. In lanes, each one after the other."""

    def __init__(self, session, wanted):
        self.session, self.lanes, self.process, self.stopped = session, [], {}, False
        for lane, commands in enumerate(shapes.warm_ups(session.options) if wanted and session.options.python != "none" else []):
            thread = threading.Thread(target=self.run, args=(lane, commands), daemon=True)
            thread.start()
            self.lanes.append(thread)

    def run(self, lane, commands):
        for name, command in commands:
            if self.stopped:
                return
            if self.compile(lane, command) or self.compile(lane, [*command, *shapes.FLASH]):
                with open(self.session.work / "warm", "a") as file:
                    file.write(name + "\n")

    def compile(self, lane, command):
        """Whether it came to an end."""
        with open(self.session.log, "a") as log:
            process = self.process[lane] = self.session.start(command, log, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            # finish() may have ended the others before this one was known.
            if self.stopped:
                end(process)
            process.communicate("2\n")
        return process.returncode == 0

    def finish(self, seconds):
        """What has not compiled in that time is ended; may be called again."""
        until = time.monotonic() + seconds
        for thread in self.lanes:
            thread.join(max(0, until - time.monotonic()))
        self.stopped = True
        for process in list(self.process.values()):
            if process.poll() is None:
                end(process)
        for thread in self.lanes:
            thread.join(15)


def shorten(path, bytes_max=8 << 20):
    """Keeps the beginning and the end: what is carried home has a limit."""
    text = path.read_bytes()
    if len(text) > bytes_max:
        path.write_bytes(text[:bytes_max // 2] + b"\n[...]\n" + text[-bytes_max // 2:])


def run_section(session, name, measured, limit):
    settings = dict(options={key: str(value) if isinstance(value, pathlib.Path) else value
                             for key, value in vars(session.options).items()}, work=str(session.work), raw=str(session.raw), limit=limit)
    began, mark = time.monotonic(), session.log.stat().st_size
    with open(session.log, "a") as log:
        log.write(f"== {name}\n")
        log.flush()
        process = session.start([sys.executable, HERE / "sections.py", name, json.dumps(settings)], log, stdout=log)
        try:
            status = process.wait(limit)
            problem = "" if status == 0 else f"ended with status {status}"
        except subprocess.TimeoutExpired:
            problem = f"took longer than {limit:.0f} s"
        end(process)
    seconds = time.monotonic() - began
    with open(session.raw, "a") as raw:
        raw.write(json.dumps(dict(section=name, seconds=seconds, problem=problem)) + "\n")
    if problem:
        with open(session.log, errors="replace") as log:
            log.seek(mark)
            # Not what a traceback says of where.
            last = [line for line in log.read().splitlines() if line.strip() and not line.startswith((" ", "Traceback"))][-2:]
        problem += ": " + " / ".join(line[:250].replace("|", "¦") for line in last)
        for goal in measured:
            session.reasons[goal] = problem
    print(f"{name}: {seconds:.0f} s {problem}", file=sys.stderr, flush=True)


def describe(session):
    options = session.options
    gpu = output_of("nvidia-smi", "--query-gpu=name,memory.total,driver_version,clocks.max.sm", "--format=csv,noheader")
    commit = output_of("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD")
    # Without importing it, which takes long.
    script = ("import importlib.metadata as m\nfor n in 'torch', 'triton', 'nvidia-cublas', 'nvidia-cudnn-cu13', 'nvidia-nccl-cu13':\n"
              "    try: print(n, m.version(n), end='; ')\n    except m.PackageNotFoundError: pass\n")
    torch = output_of(options.python, "-c", script) if options.python != "none" else "not installed"
    return [f"# {'A rehearsal without a GPU: no figure here means anything' if options.rehearse else 'Training on one GPU beside PyTorch'}",
            "", f"    bench/gpu/run {' '.join(sys.argv[1:])}", "",
            f"- date: {datetime.datetime.now():%Y-%m-%d %H:%M}, commit: {commit or 'unknown (no Git here)'}",
            f"- GPU: {gpu or 'none'}", f"- PyTorch: {torch}",
            f"- host: {os.cpu_count()} cores, Python {sys.version.split()[0]}", ""]


def main():
    options = parse()
    wanted = [name for name in options.only.split(",") if name]
    unknown = set(wanted) - {name for name, *_ in SECTIONS}
    if unknown:
        sys.exit(f"bench/gpu/run: there is no section {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="freshet-gpu-bench.", ignore_cleanup_errors=True) as directory:
        session = Session(options, pathlib.Path(directory))
        description = describe(session)
        print("\n".join(description), flush=True)
        session.reasons = {goal: "not come to yet" for _, measured, *_ in SECTIONS for goal in measured}
        session.reasons["nccl"] = "there is one GPU, and NCCL can't put two ranks on it"
        warm_up = WarmUp(session, not wanted or {"gpt", "small_batch"} & set(wanted))
        try:
            for name, measured, full, quick in SECTIONS:
                least, limit = quick if options.quick else full
                if wanted and name not in wanted:
                    session.reasons.update((goal, "not asked for") for goal in measured)
                    continue
                if name not in BESIDE_COMPILING:
                    # Nothing is timed while something compiles beside it.
                    warm_up.finish(max(0, (60 if options.quick else 120) - (time.monotonic() - session.began)))
                if session.left() < least:
                    session.reasons.update((goal, "no time was left") for goal in measured)
                    continue
                for goal in measured:
                    session.reasons[goal] = f"the section {name} did not come to it"
                run_section(session, name, measured, 600 if options.rehearse else min(limit, session.left()))
                session.write(description)
        finally:
            warm_up.finish(0)
        print(session.write(description), flush=True)
        shorten(session.log)
        if options.check and session.failures():
            sys.exit("\n".join(json.dumps(line) for line in session.failures()))


if __name__ == "__main__":
    main()

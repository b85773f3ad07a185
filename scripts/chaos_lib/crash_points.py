"""Every place in production code that is marked CRASH_POINT: a process is killed there in the middle of a story that passes
every flow, and at the end the world must be what it is after the same story without a kill."""

import collections
import pathlib
import re
import threading

import with_story
from with_site import Site

SUMMARY = "kills whoever reaches a crash point, and compares with an uncrashed twin; fails when nothing reaches a point"

JOBS = 4  # most of a story is waiting
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = ("agent", "base", "cli", "daemon", "kernels", "net", "proto", "scheduler", "worker")
# A kill there may cost the gang its attempt. Everywhere else the same attempts are made as in the twin.
GANG_AREAS = ("checkpoint", "file", "journal", "output", "snapshot", "supervisor", "worker")
BEFORE_THE_SUPERVISOR = ("agent.supervisor.before_exec", "agent.supervisor.between_forks")


def add_arguments(parser):
    parser.add_argument("--point", help="this one each time (default: drawn)")
    parser.add_argument("--all", action="store_true", help="all points, --count times each")
    parser.add_argument("--keep", action="store_true", help="leave the directory of a time that failed")


def times(options):
    return options.count * len(points()) if options.all else options.count


def points():
    """All names, as the sources have them."""
    found = []
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.cc")) + sorted((ROOT / folder).rglob("*.h")):
            found += re.findall(r'CRASH_POINT\("([^"]+)"\)', path.read_text())
    return sorted(found)


class Told:
    """A story that has been told to its end."""

    def __init__(self, options, environment, keep=False):
        self.site = None
        try:
            self.site = Site(options.binaries, {})
            once = self.site.dir / "once"
            self.log = self.site.dir / "reached"
            self.site.environment.update({name: value.replace("DIR", str(self.site.dir)) for name, value in environment.items()})
            story = with_story.Story(self.site, once.exists)
            self.site.daemon.environment = self.site.environment
            self.facts = story.tell()
            self.attempts = story.recorded_attempts
            self.launches = sorted((self.site.dir / "launches").read_text().split("\n")[:-1])
            self.crashed = once.exists()
            self.reached = collections.Counter()
            if self.log.exists():
                by_process = collections.Counter(self.log.read_text().splitlines())
                for line, count in by_process.items():
                    name = line.split(" ", 1)[1]
                    self.reached[name] = max(self.reached[name], count)
            self.check_launches()
            self.check_leftovers()
        except BaseException:
            if keep and self.site:
                print(f"kept: {self.site.dir}", flush=True)
                self.site.daemon.stop()
                self.site = None
            raise
        finally:
            if self.site:
                self.site.remove()

    def check_launches(self):
        """Each epoch of a step is one gang's, started at most once, and no step has two results."""
        twice = [line for line, count in collections.Counter(self.launches).items() if count > 1]
        if twice:
            raise AssertionError(f"started twice: {twice}")
        by_step = collections.defaultdict(list)
        for step, epoch, state, gang in self.attempts:
            by_step[step].append((epoch, state, gang))
        for step, attempts in by_step.items():
            if sorted(epoch for epoch, _, _ in attempts) != list(range(1, len(attempts) + 1)):
                raise AssertionError(f"the epochs of {step} are not 1, 2, 3 and so on: {attempts}")
            if sum(state == "SUCCEEDED" for _, state, _ in attempts) > 1:
                raise AssertionError(f"{step} has two results: {attempts}")
            if any(state in ("PLACED", "PREPARED", "RUNNING") for _, state, _ in attempts):
                raise AssertionError(f"{step} still has an attempt under way: {attempts}")

    def check_leftovers(self):
        left = [f"process {pid}" for pid in processes_of(self.site.dir)]
        data = self.site.daemon.data_dir
        left += [str(path) for path in data.rglob("*")
                 if ".tmp" in path.name or path.name.startswith((".gone-", "part-")) or path.parent.name == "incoming"]
        gangs = {gang for _, _, _, gang in self.attempts}
        left += [str(path) for path in pathlib.Path("/dev/shm").glob("freshet-*") if path.name[len("freshet-"):] in gangs]
        for mount in re.findall(r"(?m)^\S+ (\S+) cgroup2 ", pathlib.Path("/proc/mounts").read_text()):
            left += [str(path) for path in (pathlib.Path(mount) / "freshet").glob("*") if path.name in gangs]
        if left:
            raise AssertionError(f"left behind: {left}")


def processes_of(directory):
    """All that were started for the site have its directory in their environment."""
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if str(directory).encode() in (path / "environ").read_bytes():
                yield int(path.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


_twin = None
_twin_lock = threading.Lock()


def twin(case, options):
    """The story without a kill, told once; it must reach every point."""
    global _twin
    with _twin_lock:
        if _twin is None:
            _twin = Told(options, {"FRESHET_CRASH_LOG": "DIR/reached", "FRESHET_CRASH_ONCE": "DIR/once"}, options.keep)
            case.say(f"the twin reached {len(_twin.reached)} of {len(points())} points")
    unreached = [name for name in points() if name not in _twin.reached]
    if unreached:
        raise AssertionError(f"{len(unreached)} crash points that the story does not reach: {', '.join(unreached)}")
    return _twin


_times = collections.Counter()


def run(case, options):
    names = points()
    name = options.point or (names[(case.seed - options.seed) % len(names)] if options.all else case.random.choice(names))
    expected = twin(case, options)
    count = case.random.randint(1, expected.reached[name]) if case.random.random() < 0.5 else 1
    told = play(options, name, count)
    if not told.crashed:
        case.add("played again because the drawn time was not reached")
        count = 1
        told = play(options, name, count)
    if not told.crashed:
        raise AssertionError(f"nobody reached {name}")
    compare(name, expected, told)
    _times[name] += 1
    case.add("kills")
    case.say(f"{name}, time {count} of {expected.reached[name]}: as the twin, {len(told.attempts)} attempts")


def play(options, name, count):
    return Told(options, {"FRESHET_CRASH_AT": f"{name}:{count}", "FRESHET_CRASH_ONCE": "DIR/once"}, options.keep)


def compare(name, expected, told):
    for what, value in expected.facts.items():
        if told.facts[what] != value:
            raise AssertionError(f"{name}: {what} are\n  {told.facts[what]}\nand were without a kill\n  {value}")
    more = len(told.attempts) - len(expected.attempts)
    may_lose_one = name.split(".")[0] in GANG_AREAS or name in BEFORE_THE_SUPERVISOR
    if more != 0 and not (may_lose_one and more == 1):
        raise AssertionError(f"{name}: {more:+} attempts: {told.attempts}\nwithout a kill: {expected.attempts}")


def finish(totals, _options):
    totals["points"] = len(points())
    totals["points at which somebody was killed"] = len(_times)

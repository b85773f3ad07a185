"""Gangs that save themselves all the time are killed at drawn instants, whole or one rank of them, and files of theirs are cut
and have bits flipped. After each blow every sealed checkpoint but those damaged must be good, and none that was promised gone; a
gang of another size must go on from the newest good one, and end with the weights of a training that nobody disturbed. Half of
the trainings keep their newest checkpoint in memory, too."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

SUMMARY = "ranks are killed while they save, files are cut and flipped; no committed checkpoint may be lost, no bit may differ"

JOBS = 2
RANKS = (1, 2, 3, 4, 8)
BLOWS = 3  # at most, before a gang is left to end

_lock = threading.Lock()
_undisturbed = {}


class Gang:
    """One start of the program."""

    def __init__(self, options, directory, ranks, epoch, pace, memory=None):
        self.log = directory.parent / f"log-{epoch}"
        with self.log.open("wb") as log:
            # All ranks hold the pipe: its end is the end of the last of them.
            self.process = subprocess.Popen([options.binaries / "freshet-checkpoint-gang", directory, str(ranks), str(epoch), pace,
                                             *([memory] if memory else [])],
                                            stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.lines = []

    def kill_after(self, sealed, seconds, case):
        """So long after it has sealed so many; false when it ended before."""
        while sealed > 0:
            line = self.process.stdout.readline().decode()
            if not line:
                return False
            self.lines.append(line)
            sealed -= line.startswith("sealed ")
        try:
            self.process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            pass
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if children and case.random.random() < 0.5:
            case.add("kills of one rank")
            self.kill(int(case.random.choice(children)), os.kill)
        else:
            case.add("kills of a whole gang")
            self.kill(self.process.pid, os.killpg)
        return True

    @staticmethod
    def kill(pid, how):
        try:
            how(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has just ended

    def end(self):
        """What it said, once the last of its ranks is gone."""
        said = {"sealed": [], "resumed": [], "weights": []}
        for line in self.lines + self.process.stdout.read().decode().splitlines():
            word, _, value = line.strip().partition(" ")
            said[word].append(value)
        self.process.stdout.close()
        self.process.wait()
        return said


def sealed_steps(directory):
    return sorted(int(path.name[5:]) for path in directory.glob("step-*") if ".tmp." not in path.name)


def path_of(directory, step):
    return directory / f"step-{step:012}"


def is_good(path):
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        return all(hashlib.sha256((path / item["name"]).read_bytes()).hexdigest() == item["sha256"] for item in manifest["files"])
    except (ValueError, KeyError, FileNotFoundError):
        return False


def damage(case, path):
    """Cuts a file of the directory or flips one of its bits."""
    files = sorted(item for item in path.iterdir() if item.is_file() and item.stat().st_size > 0)
    if not files:
        return
    file = case.random.choice(files)
    size = file.stat().st_size
    if case.random.random() < 0.5:
        os.truncate(file, case.random.randrange(size))
        case.add("files cut")
    else:
        with file.open("r+b") as opened:
            at = case.random.randrange(size)
            opened.seek(at)
            byte = opened.read(1)[0]
            opened.seek(at)
            opened.write(bytes([byte ^ (1 << case.random.randrange(8))]))
        case.add("bits flipped")


def undisturbed(options):
    """The digest of the weights, and how long a training takes."""
    with _lock, tempfile.TemporaryDirectory(prefix="freshet-checkpoints-") as name:
        if not _undisturbed:
            started = time.monotonic()
            gang = Gang(options, pathlib.Path(name) / "run", 2, 1, "slow")
            said = gang.end()
            if gang.process.returncode != 0:
                raise RuntimeError(gang.log.read_text())
            _undisturbed["weights"] = said["weights"]
            _undisturbed["seconds"] = time.monotonic() - started
    return _undisturbed


def check(directory, promised, damaged=()):
    """What is sealed is good, but for what was damaged on purpose, and the newest that was promised is there, or a newer one."""
    found = sealed_steps(directory)
    for step in found:
        if step not in damaged and not is_good(path_of(directory, step)):
            raise AssertionError(f"the sealed checkpoint of step {step} is not what its manifest says")
    if promised and (not found or found[-1] < max(promised)):
        raise AssertionError(f"the checkpoint of step {max(promised)} was promised; there are {found}")


def damaged_by_chance(case, directory):
    """The newest sealed one, half of the time; and all that is unfinished. The steps that are good, and that is not."""
    found, damaged = sealed_steps(directory), []
    if found and case.random.random() < 0.5:
        damage(case, path_of(directory, found[-1]))
        damaged = found[-1:]
    for path in directory.glob("step-*.tmp.*"):
        damage(case, path)
    return found[:len(found) - len(damaged)], damaged


def run(case, options):
    expected = undisturbed(options)
    with (tempfile.TemporaryDirectory(prefix="freshet-checkpoints-") as name,
          tempfile.TemporaryDirectory(prefix="freshet-checkpoints-", dir="/dev/shm") as memory_name):
        directory = pathlib.Path(name) / "run"
        memory = pathlib.Path(memory_name) / "run" if case.random.random() < 0.5 else None
        places = [directory, memory] if memory else [directory]
        if memory:
            case.add("trainings with checkpoints in memory")
        for epoch in range(1, case.random.randint(1, BLOWS) + 1):
            gang = Gang(options, directory, case.random.choice(RANKS), epoch, case.random.choice(("slow", "fast")), memory)
            if case.random.random() < 0.25:
                was_killed = gang.kill_after(0, case.random.uniform(0.05, 0.9) * expected["seconds"], case)
            else:
                was_killed = gang.kill_after(case.random.randint(1, 3), case.random.uniform(0, 0.02), case)
            said = gang.end()
            if not was_killed:
                case.add("gangs that ended before their blow")
                if gang.process.returncode != 0:
                    raise AssertionError(gang.log.read_text())
            check(directory, [int(step) for step in said["sealed"]])
            if memory:
                check(memory, [])
        outcomes = [damaged_by_chance(case, place) for place in places]
        good = sorted({step for steps, _ in outcomes for step in steps})
        damaged = [steps for _, steps in outcomes]
        gang = Gang(options, directory, case.random.choice(RANKS), BLOWS + 1, "fast", memory)
        said = gang.end()
        if gang.process.returncode != 0:
            raise AssertionError(gang.log.read_text())
        # With one in memory that is as new, nobody looks at what is on disk.
        check(directory, [int(step) for step in said["sealed"]], damaged[0] if memory else ())
        if said["weights"] != expected["weights"]:
            raise AssertionError(f"the weights are {said['weights']}, undisturbed {expected['weights']}")
        if said["resumed"] != [str(step) for step in good[-1:]]:
            raise AssertionError(f"resumed from {said['resumed']}; good were {good}, damaged {damaged}")
        left = sorted(str(path) for place in places for path in place.glob("*.tmp.*"))
        if left:
            raise AssertionError(f"left behind: {left}")
        case.add("trainings that went on from a checkpoint" if good else "trainings that started over")

"""Promoters that race for an alias, all expecting the version that it has now, and the daemon killed among them."""

import pathlib
import shutil
import tempfile
import threading
import time

import with_table
from freshet_daemon import Api, ApiError, Daemon, Gone, wait_for

SUMMARY = "races promoters against each other and against kills: an expected version is replaced once, and history is a chain"

VERSIONS = 5


def add_arguments(parser):
    parser.add_argument("--promoters", type=int, default=16, help="that race each time (default 16)")
    parser.add_argument("--kills", type=float, default=0.25, help="share of times with a kill of the daemon (default 0.25)")


class Registry:
    """A daemon whose model has several versions that passed their gates, and what was acknowledged of its alias so far."""

    def __init__(self, options):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="freshet-promote."))
        self.daemon = Daemon(options.binaries, self.dir / "data", options=["--log-level", "warning"])
        self.revision = 0  # of the newest move that has been looked at

    def start(self):
        self.daemon.start()
        with_table.fill(self.daemon, with_table.documents())
        for _ in range(VERSIONS):
            self.daemon.api.post("/api/v1/runs", {"pipeline": "prices"})
        wait_for(lambda: len(self.daemon.api.versions("prices")[0]) == VERSIONS, f"{VERSIONS} versions", 60,
                 self.daemon.last_log_lines)
        self.daemon.api.post("/api/v1/models/prices/promote", {"version": 1, "reason": "the first"})
        self.revision = int(self.daemon.api.get("/api/v1/models/prices/moves")["moves"][0]["revision"])

    def remove(self):
        self.daemon.stop()
        shutil.rmtree(self.dir)


class Promoter(threading.Thread):
    """Asks once; `outcome` is "moved", "refused" or "unanswered", or the exception that was not expected."""

    def __init__(self, daemon, barrier, expected, version, reason):
        super().__init__()
        self.version = version
        self.reason = reason
        self.outcome = None
        self._api = Api(daemon.api.url, daemon.api.token)
        self._barrier = barrier
        self._request = {"version": version, "expected_current_version": expected, "reason": reason}

    def run(self):
        try:
            self._api.raw("GET", "/readyz", token=False)  # connected before the race begins
            self._barrier.wait()
            self._ask()
        except Exception as error:  # run() of this module raises it
            self.outcome = error
        finally:
            self._api.close()

    def _ask(self):
        try:
            self._api.post("/api/v1/models/prices/promote", self._request)
            self.outcome = "moved"
        except ApiError as error:
            if error.status != 409:
                raise
            self.outcome = "refused"
        except Gone:
            self.outcome = "unanswered"


_registry = None


def run(case, options):
    global _registry
    try:
        if _registry is None:
            _registry = Registry(options)
            _registry.start()
        _race(case, options, _registry)
    except BaseException:
        finish({}, options)
        raise


def finish(_totals, _options):
    global _registry
    if _registry is not None:
        _registry.remove()
        _registry = None


def _race(case, options, registry):
    daemon = registry.daemon
    before = daemon.api.versions("prices")[1]["champion"]
    others = [version for version in range(1, VERSIONS + 1) if version != before]
    barrier = threading.Barrier(options.promoters + 1)
    promoters = [Promoter(daemon, barrier, before, case.random.choice(others), f"{case.seed}/{number}")
                 for number in range(options.promoters)]
    is_killed = case.random.random() < options.kills
    for promoter in promoters:
        promoter.start()
    barrier.wait()
    if is_killed:
        time.sleep(case.random.uniform(0, 0.01))
        daemon.kill()
    for promoter in promoters:
        promoter.join()
        if isinstance(promoter.outcome, Exception):
            raise promoter.outcome
    if is_killed:
        daemon.start()
    _check(case, registry, promoters, before, is_killed)


def _check(case, registry, promoters, before, is_killed):
    api = registry.daemon.api
    versions, aliases = api.versions("prices")
    moves = api.all("/api/v1/models/prices/moves", "moves", page_size=1000)[::-1]
    at = int(moves[0]["alias"].get("previous_version", 0))
    for alias in (move["alias"] for move in moves):
        if int(alias.get("previous_version", 0)) != at:
            raise AssertionError(f"a move from version {alias.get('previous_version', 0)} follows one to version {at}: {alias}")
        at = int(alias["version"])
    if aliases["champion"] != at:
        raise AssertionError(f"the alias is at version {aliases['champion']} and its last move was to {at}")
    passed = {int(version["version"]) for version in versions if version["verdict"].get("passed")}
    if at not in passed:
        raise AssertionError(f"the alias is at version {at}, which has not passed: {passed}")
    new = [move["alias"] for move in moves if int(move["revision"]) > registry.revision]
    registry.revision = int(moves[-1]["revision"])
    moved = [promoter for promoter in promoters if promoter.outcome == "moved"]
    unanswered = [promoter for promoter in promoters if promoter.outcome == "unanswered"]
    if len(new) > 1:
        raise AssertionError(f"{len(new)} promotions replaced version {before}, which each expected: {new}")
    if [promoter.reason for promoter in moved] not in ([], [alias["reason"] for alias in new]):
        raise AssertionError(f"acknowledged: {[promoter.reason for promoter in moved]}, but in the history: {new}")
    if new and not any(promoter.reason == new[0]["reason"] for promoter in moved + unanswered):
        raise AssertionError(f"a promoter was refused and moved the alias all the same: {new}")
    if not is_killed and (len(new) != 1 or unanswered):
        raise AssertionError(f"nobody died, yet there are {len(new)} moves and {len(unanswered)} promoters without an answer")
    case.add("races")
    case.add("promoters", len(promoters))
    case.add("promotions", len(new))
    case.add("refused", sum(promoter.outcome == "refused" for promoter in promoters))
    case.add("kills", 1 if is_killed else 0)
    case.add("promoters without an answer", len(unanswered))
    case.add("kills after which the alias had moved, unacknowledged", 1 if new and not moved else 0)
    case.say(f"{len(promoters)} promoters expected version {before}: {len(moved)} moved it, {len(unanswered)} had no answer"
             f"{' from a killed daemon' if is_killed else ''}; the history is a chain of {len(moves)}")

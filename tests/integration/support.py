"""What the integration tests share: a daemon of their own for each case, and a pipeline on a table that has nothing to do
with the demo's. Everything lies in a temporary directory; what is started is ended, also when a test fails."""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts/demo_lib"))

import pyarrow as pa  # noqa: E402
import pyarrow.csv  # noqa: E402
import pyarrow.parquet  # noqa: E402

from freshet_daemon import Api, ApiError, Daemon, end_process, is_alive, start_ticks, wait_for  # noqa: E402, F401

BINARIES = pathlib.Path(os.environ.get("FRESHET_BINARY_DIR") or ROOT / "build/cpu/bin")
ROWS = 600

# The prices of houses, with columns of several types, a missing value here and there, and a regression label.
PIPELINE = """
api_version: freshet/v1
kind: Source
metadata: {name: sales}
spec: {directory: {uri: "file://${DIR}"}}
---
api_version: freshet/v1
kind: Pipeline
metadata: {name: prices}
spec:
  model: house-prices
  seed: 11
  inputs:
    - {name: sales, source: sales, holdout_newest_entries: 1}
  recipe:
    steps:
      - name: fit
        train:
          tabular:
            features:
              - {column: area, kind: NUMERIC}
              - {column: rooms, kind: NUMERIC}
              - {column: district, kind: CATEGORICAL, embedding_dim: 4}
              - {column: has_garden, kind: CATEGORICAL, embedding_dim: 2}
              - {column: sold_at, kind: CATEGORICAL, derive: DAY_OF_WEEK, embedding_dim: 2}
            label: {column: price, task: REGRESSION}
            hidden_layers: [32]
          optimizer: {learning_rate: 0.01}
          batch: {micro_batch_rows: 50, micro_batches: 4}
          epochs: 20
      - {name: score, needs: [fit], evaluate: {}}
      - {name: publish, needs: [score], promote: {}}
  resources:
    - {step: fit, ranks: 2}
  gates:
    - {name: fits, absolute: {metric: r2, min: 0.5}}
---
api_version: freshet/v1
kind: Trigger
metadata: {name: new-sales}
spec:
  pipeline: prices
  new_data: {input: sales, min_entries: 3, debounce_ms: 100}
"""


def table(seed, rows=ROWS):
    """A table whose price follows from its other columns, but for some noise."""
    draw = random.Random(seed)
    districts = {"north": 40.0, "south": -20.0, "harbour": 90.0, "hill": 10.0}
    columns = {name: [] for name in ("sold_at", "district", "rooms", "area", "has_garden", "price")}
    for row in range(rows):
        district, rooms = draw.choice(sorted(districts)), draw.randint(1, 6)
        area, garden = 20.0 * rooms + draw.uniform(0, 30), draw.random() < 0.4
        columns["sold_at"].append(1_600_000_000 + 3600 * (row + rows * seed))
        columns["district"].append(None if draw.random() < 0.01 else district)
        columns["rooms"].append(rooms)
        columns["area"].append(area)
        columns["has_garden"].append(garden)
        columns["price"].append(3 * area + 15 * garden + districts[district] + draw.gauss(0, 10))
    types = {"sold_at": pa.timestamp("s"), "district": pa.string(), "rooms": pa.int32(), "area": pa.float32(),
             "has_garden": pa.bool_(), "price": pa.float64()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


class DaemonCase(unittest.TestCase):
    """self.daemon runs, with a connected agent; self.landing is the directory that sources may watch."""

    starts_daemon = True

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="freshet-test."))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.landing = self.dir / "landing"
        self.landing.mkdir()
        self.daemon = self.new_daemon("data")
        if self.starts_daemon:
            self.daemon.start().wait_for_node()
            self.api = self.daemon.api

    def new_daemon(self, name):
        daemon = Daemon(BINARIES, self.dir / name)
        self.addCleanup(daemon.stop)
        self.addCleanup(self._tell, daemon)  # cleanups run from the last to the first
        return daemon

    def run(self, result=None):
        self._result = result
        self._failed_before = len(result.failures) + len(result.errors)
        return super().run(result)

    def _tell(self, daemon):
        if len(self._result.failures) + len(self._result.errors) > self._failed_before:
            print(f"{daemon.data_dir.name}: {daemon.last_log_lines(30)}", file=sys.stderr)

    def apply(self, text, *options, check=True):
        file = self.dir / "documents.yaml"
        file.write_text(text)
        return self.daemon.cli("apply", "-f", str(file), "--var", f"DIR={self.landing}", *options, check=check)

    def start_second_node(self, slots=2):
        """An agent named "second" with a directory of its own."""
        directory = self.dir / "second"
        directory.mkdir()
        with open(self.dir / "second.log", "ab") as log:
            agent = subprocess.Popen(
                [self.daemon.binaries / "freshet-agent", "run", "--daemon-file", self.daemon.data_dir / "address",
                 "--token-file", self.daemon.token_path, "--dir", directory, "--name", "second", "--slots", str(slots),
                 "--worker", self.daemon.binaries / "freshet-worker", "--mpirun", shutil.which("mpirun")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.addCleanup(agent.wait)
        self.addCleanup(end_process, agent.pid, start_ticks(agent.pid))
        self.addCleanup(self.leave_no_gang, directory)

    def leave_no_gang(self, directory):
        """An agent that ends leaves its gangs running, so they end before it."""
        def all_ended():
            active = [run for run in self.api.runs() if run["state"] in ("QUEUED", "RUNNING")]
            for run in active:
                try:
                    self.api.post(f"/api/v1/runs/{run['id']}/cancel", {"reason": "the test is over"})
                except ApiError as error:
                    if error.status != 409:  # it has just ended, or a loop was faster
                        raise
            return not active
        wait_for(all_ended, "the runs to end", 30, self.daemon.last_log_lines)
        wait_for(lambda: not any((directory / "gangs").iterdir()), "the second node's gangs to be gone", 30,
                 self.daemon.last_log_lines)

    def land(self, name, content):
        """By rename: `content` is bytes or a table."""
        staged = self.dir / f"staged-{name}"
        if isinstance(content, bytes):
            staged.write_bytes(content)
        elif name.endswith(".csv"):
            pa.csv.write_csv(content, staged)
        else:
            pa.parquet.write_table(content, staged)
        os.rename(staged, self.landing / name)

    def entries(self, pipeline="prices", input_name="sales"):
        return {entry["entry"]["uri"]: entry for entry in self.api.entries(pipeline, input_name)}

    def wait_for_entries(self, count):
        """All entries, once that many are there and each has been decided about."""
        def decided():
            entries = self.entries()
            done = len(entries) == count and all(entry["state"] != "ARRIVED" for entry in entries.values())
            return entries if done else None
        return wait_for(decided, f"{count} inspected entries", 40)

    def wait_for_end(self, run_id, seconds=40):
        def ended():
            view = self.api.run(run_id)
            return view if view["run"]["state"] in ("SUCCEEDED", "FAILED", "CANCELLED") else None
        return wait_for(ended, f"the end of run {run_id}", seconds)

    def wait_for_run(self):
        runs = wait_for(self.api.runs, "a run", 40, self.daemon.last_log_lines)
        return self.wait_for_end(runs[0]["id"])

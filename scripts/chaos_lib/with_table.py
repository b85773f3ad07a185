"""A data directory with a pipeline on a small table, whose files are accepted: what the kinds start from that need runs."""

import os
import pathlib
import random
import shutil
import tempfile

from freshet_daemon import Daemon, wait_for

FILES = 2
ROWS = 200
MORE_SLOTS_THAN_ANY_NODE_HAS = 4000

# `steps` and `resources` say what the runs are to do.
DOCUMENTS = """
api_version: freshet/v1
kind: Source
metadata: {{name: sales}}
spec: {{directory: {{uri: "file://${{DIR}}"}}}}
---
api_version: freshet/v1
kind: Pipeline
metadata: {{name: prices}}
spec:
  model: prices
  seed: 11
  inputs:
    - {{name: sales, source: sales, holdout_newest_entries: 1}}
  recipe:
    steps:
      - name: fit
        train:
          tabular:
            features: [{{column: area, kind: NUMERIC}}, {{column: rooms, kind: NUMERIC}}]
            label: {{column: price, task: REGRESSION}}
            hidden_layers: [8]
          optimizer: {{learning_rate: 0.01}}
          batch: {{micro_batch_rows: {micro_batch_rows}, micro_batches: 4}}
          epochs: {epochs}
      - {{name: score, needs: [fit], evaluate: {{}}}}
      - {{name: publish, needs: [score], promote: {{}}}}
  resources:
    - {{step: fit, ranks: {ranks}, slots: {slots}}}
  gates:
    - {{name: finite, absolute: {{metric: rmse, max: 1000000}}}}
  promotion: {{policy: {policy}}}
"""


def documents(ranks=1, slots=1, epochs=1, micro_batch_rows=25, policy="MANUAL"):
    return DOCUMENTS.format(ranks=ranks, slots=slots, epochs=epochs, micro_batch_rows=micro_batch_rows, policy=policy)


def write_csv(path, seed):
    draw = random.Random(seed)
    lines = ["area,rooms,price"]
    for _ in range(ROWS):
        rooms = draw.randint(1, 6)
        area = 20.0 * rooms + draw.uniform(0, 30)
        lines.append(f"{area:.3f},{rooms},{3 * area + draw.gauss(0, 10):.3f}")
    path.write_text("\n".join(lines) + "\n")


def fill(daemon, text):
    """Applies `text` to a daemon that runs with its agent, lands the files beside its data directory, and returns when they
    are accepted."""
    landing = pathlib.Path(f"{daemon.data_dir}.landing")
    landing.mkdir()
    path = pathlib.Path(f"{daemon.data_dir}.yaml")
    path.write_text(text)
    daemon.cli("apply", "-f", str(path), "--var", f"DIR={landing}")
    for number in range(FILES):
        staged = pathlib.Path(f"{daemon.data_dir}.staged")
        write_csv(staged, number)
        os.rename(staged, landing / f"week-{number}.csv")
    wait_for(lambda: len(daemon.api.entries("prices", "sales", "ACCEPTED")) == FILES, "the files to be accepted", 60,
             daemon.last_log_lines)


def make_queue(binaries, directory):
    """A new data directory in which runs can be submitted and none can ever be placed."""
    daemon = Daemon(binaries, directory)
    try:
        daemon.start()
        fill(daemon, documents(slots=MORE_SLOTS_THAN_ANY_NODE_HAS))
    finally:
        daemon.stop()


class QueueTemplate:
    """Such a data directory, of which others begin as a copy."""

    def __init__(self, binaries, prefix):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
        make_queue(binaries, self.dir / "data")

    def copy_to(self, directory):
        shutil.copytree(self.dir / "data", directory)

    def remove(self):
        shutil.rmtree(self.dir)

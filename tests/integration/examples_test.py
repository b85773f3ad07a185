"""The examples of tables in configs/, on less data: digits from pictures, and clicks from files like Criteo's."""

import os
import pathlib
import subprocess
import sys
import unittest

from support import ROOT, DaemonCase


class ExamplesTest(DaemonCase):
    def example(self, path, *changes):
        """Applies a file of configs/ with these parts of it replaced."""
        text = (ROOT / "configs" / path).read_text().replace("${DATA_DIR}", "${DIR}")
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.applied = text
        self.apply(text)

    def generate(self, script, *options):
        subprocess.run([sys.executable, ROOT / "scripts" / script, "--out", self.landing, *options], check=True,
                       stdout=subprocess.DEVNULL)

    def champion(self, model):
        """The metrics of the first version, once it is the champion."""
        run = self.wait_for_run()["run"]
        self.assertEqual(f"{model}/1 is now champion", run.get("message"))
        versions, _ = self.api.versions(model)
        return {metric["name"]: metric["value"] for metric in versions[0]["metrics"]}

    def test_mnist(self):
        deps = pathlib.Path(os.environ.get("FRESHET_DEPS_DIR") or ROOT / ".deps")
        self.generate("mnist_partitions", "--files", "4", "--rows", "500", "--input", str(deps / "data/mnist"))
        self.example("mnist/mnist.yaml", ("min_rows: 60000", "min_rows: 2500"), ("epochs: 10", "epochs: 4"),
                     ("min: 0.9695", "min: 0.85"))
        metrics = self.champion("mnist")
        self.assertEqual({"log_loss", "accuracy"}, set(metrics))
        self.assertGreater(metrics["accuracy"], 0.85)

    def test_criteo(self):
        self.generate("criteo_partitions", "--files", "3", "--rows", "3000", "--words-max", "1000")
        self.example("criteo/criteo.yaml", ("min_entries: 2", "min_entries: 3"),
                     ("hash_buckets: 100000", "hash_buckets: 1000"), ("micro_batch_rows: 256", "micro_batch_rows: 32"),
                     ("learning_rate: 0.001", "learning_rate: 0.003"), ("epochs: 1", "epochs: 3"),
                     ("min: 0.6", "min: 0.55"))
        self.assertGreater(self.champion("criteo")["auc"], 0.55)
        # Tables that start from those of the champion, on two ranks, are the same bits on one.
        run = self.wait_for_end(self.api.post("/api/v1/runs", {"pipeline": "criteo"})["id"])["run"]
        self.assertEqual("SUCCEEDED", run["state"], run.get("message"))
        second = self.api.get("/api/v1/models/criteo/versions/2")
        self.assertEqual("criteo/1", second["warm_start_version"])
        self.apply(self.applied.replace("ranks: 2", "ranks: 1"))
        done = self.daemon.cli("replay", "criteo/2", "--wait", check=False)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn("the same weights bit for bit", done.stdout)


if __name__ == "__main__":
    unittest.main()

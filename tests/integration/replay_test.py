"""Replays over a real daemon: a version is trained again from its record and its weights are the same bits; also when it
started from another version, when either was collected, and by other numerics, which the run says. A changed file is named."""

import json
import os
import unittest

from support import PIPELINE, ApiError, DaemonCase, table, wait_for

# Small and quick; each version starts from the one before.
SMALL = PIPELINE.replace("min_entries: 3", "min_entries: 100").replace("epochs: 20", "epochs: 4\n          warm_start: true")
KEEP_ALL = SMALL.replace("min: 0.5", "min: -10")
KEEP_FEW = KEEP_ALL.replace("  gates:\n", "  retention: {keep_last: 1, keep_best: 0, keep_promoted_days: 0}\n  gates:\n")
GATED = KEEP_ALL.replace("  gates:\n", "  gates:\n    - {name: reproducible, replay: {}}\n")
RUN_FAILED = 6  # the CLI's exit code


class ReplayTest(DaemonCase):
    def train(self, weeks):
        """Lands one more week and trains on all of them; the version's number."""
        self.land(f"week-{weeks}.csv", table(weeks, 200))
        self.wait_for_entries(weeks + 1)
        run = self.wait_for_end(self.api.post("/api/v1/runs", {"pipeline": "prices"})["id"])["run"]
        self.assertEqual("SUCCEEDED", run["state"], run.get("message"))
        return run

    def make_versions(self, count, documents=KEEP_ALL):
        self.apply(documents)
        self.land("week-0.csv", table(0, 200))
        return [self.train(week) for week in range(1, count + 1)]

    def replay(self, version, exit_code=0):
        """The run, as the CLI prints it at its end."""
        done = self.daemon.cli("replay", f"house-prices/{version}", "--wait", "--json", check=False)
        self.assertEqual(exit_code, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def version(self, number):
        return self.api.get(f"/api/v1/models/house-prices/versions/{number}")

    def restart(self, *options, **environment):
        self.daemon.stop()
        self.api.close()
        self.daemon.options = list(options)
        self.daemon.environment = {**os.environ, **environment}
        self.daemon.start().wait_for_node()
        self.api = self.daemon.api

    def test_same_weights(self):
        self.make_versions(2)
        self.assertEqual("house-prices/1", self.version(2)["warm_start_version"])
        # With other ranks than the original had.
        self.apply(KEEP_ALL.replace("{step: fit, ranks: 2}", "{step: replay, ranks: 3, slots: 2}"))
        for number in (1, 2):
            run = self.replay(number)
            self.assertEqual(f"house-prices/{number}", run["replay_of"])
            report = run["replays"][0]
            self.assertTrue(report["is_equal"] and report["is_same_numerics"], report)
            self.assertEqual(self.version(number)["weights_digest"], report["replayed_weights_digest"])
            self.assertEqual(self.version(number)["numerics"], report["replayed_numerics"])
            self.assertIn("the same weights bit for bit", run["message"])
        attempts = self.api.run(run["id"])["attempts"]
        self.assertEqual([("replay", 3)], [(attempt["work"]["step"], attempt["ranks"]) for attempt in attempts])
        self.assertRegex(self.daemon.cli("runs", run["id"]).stdout, "Weights +equal")
        # It has registered nothing and moved nothing, and is in the audit log.
        versions, aliases = self.api.versions("house-prices")
        self.assertEqual((2, {"champion": 2}), (len(versions), aliases))
        told = [record["reason"] for record in self.api.all("/api/v1/audit", "records")
                if record["action"] == f"create run {run['id']}"]
        self.assertEqual(["replay of house-prices/2 asked for by admin"], told)
        with self.assertRaises(ApiError) as refused:
            self.api.post("/api/v1/models/house-prices/versions/7/replay", {})
        self.assertEqual(404, refused.exception.status)

        self.replay_elsewhere()
        self.change_a_file()

    def replay_elsewhere(self):
        """On a node that has never had the models, and alone has the slots."""
        self.start_second_node(slots=8)
        self.apply(KEEP_ALL.replace("{step: fit, ranks: 2}", "{step: replay, ranks: 1, slots: 8}"))
        run = self.replay(2)
        self.assertTrue(run["replays"][0]["is_equal"], run)
        self.assertEqual(["second"], [attempt["node"] for attempt in self.api.run(run["id"])["attempts"]])

    def change_a_file(self):
        text = (self.landing / "week-0.csv").read_text()
        (self.landing / "week-0.csv").write_text(text.replace("north", "south", 1))
        run = self.replay(1, RUN_FAILED)
        self.assertEqual("FAILED", run["state"])
        self.assertIn("week-0.csv: the file has changed since it was registered", run["message"])
        (self.landing / "week-0.csv").unlink()
        self.assertIn("week-0.csv: the file is no longer there", self.replay(1, RUN_FAILED)["message"])

    def test_collected_chain(self):
        self.make_versions(4)
        self.apply(KEEP_FEW)
        self.restart("--gc-grace-s", "1")
        # 4 is the champion, a rollback goes to 3, which started from 2, and nothing keeps 1.
        self.wait_until_collected(1)
        self.assertTrue(self.replay(1)["replays"][0]["is_equal"])
        run = self.replay(2)
        self.assertEqual(["replay-1", "replay"], [step["name"] for step in run["steps"]])
        self.assertEqual([True, True], [report["is_equal"] for report in run["replays"]])
        for number, report in zip((1, 2), run["replays"]):
            self.assertEqual(f"house-prices/{number}", report["version"])
            self.assertEqual(self.version(number)["weights_digest"], report["replayed_weights_digest"])
        self.other_numerics()

    def wait_until_collected(self, number):
        wait_for(lambda: self.daemon.cli("gc") and "artifact_collected_us" in self.version(number),
                 f"version {number} to be collected")

    def other_numerics(self):
        self.restart("--gc-grace-s", "1", ONEDNN_MAX_CPU_ISA="SSE41")
        self.wait_until_collected(1)  # what the replay made of it
        run = self.replay(4)
        report = run["replays"][0]
        self.assertFalse(report.get("is_equal", False) or report.get("is_same_numerics", False))
        self.assertEqual("sse41", report["replayed_numerics"]["instruction_set"])
        self.assertGreater(max(tensor["largest_absolute"] for tensor in report["differences"]), 0)
        self.assertIn("by other numerics: instruction set sse41 instead of", run["message"])
        # 1 comes out otherwise, and so 2 starts from elsewhere.
        run = self.replay(2)
        self.assertEqual("house-prices/1", run["replays"][1]["other_start"])
        self.assertEqual("the artifact of the version was collected", run["replays"][0]["not_compared"])

    def test_gate(self):
        run = self.make_versions(1, GATED)[0]
        self.assertEqual("house-prices/1 is now champion", run["message"])
        self.assertEqual(["fit", "score", "publish", "replay"], [step["name"] for step in run["steps"]])
        gates = {gate["gate"]["name"]: gate for gate in self.version(1)["verdict"]["gates"]}
        self.assertTrue(gates["reproducible"]["passed"])
        self.assertIn("the same weights bit for bit", gates["reproducible"]["explanation"])
        numbers = {number["name"]: number.get("value", 0) for number in gates["reproducible"]["numbers"]}
        self.assertEqual((1, 1), (numbers["equal"], numbers["same_numerics"]))
        # Two trainings, two curves.
        names = {sample["name"] for sample in self.api.run(run["id"])["latest"]}
        self.assertLessEqual({"loss", "replay_loss"}, names)
        self.assertTrue(self.replay(1)["replays"][0]["is_equal"])


if __name__ == "__main__":
    unittest.main()

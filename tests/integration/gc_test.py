"""Retention and garbage collection with real programs: what would go and why, a daemon that is killed in the middle of it, and
bytes that leave the disk while those that something needs stay."""

import json
import os
import signal
import unittest

from support import PIPELINE, ApiError, DaemonCase, table, wait_for

KEEP_ALL = PIPELINE.replace("min_entries: 3", "min_entries: 100")
# The newest version stays, the champion's predecessor for a rollback, and nothing else.
KEEP_FEW = KEEP_ALL.replace("  gates:\n", "  retention: {keep_last: 1, keep_best: 0, keep_promoted_days: 0}\n  gates:\n")
NO_ANSWER = 5  # the CLI's exit code


class GcTest(DaemonCase):
    def train(self):
        run = self.wait_for_end(self.api.post("/api/v1/runs", {"pipeline": "prices"})["id"])["run"]
        self.assertEqual("SUCCEEDED", run["state"], run.get("message"))
        return self.api.get(f"/api/v1/models/house-prices/versions/{run['model_version'].split('/')[1]}")["artifact_digest"]

    def restart(self, *options, **environment):
        self.daemon.stop_daemon()
        self.api.close()
        self.daemon.options = list(options)
        self.daemon.environment = {**os.environ, **environment}
        self.daemon.start()
        self.api = self.daemon.api

    def plan(self):
        answer = json.loads(self.daemon.cli("gc", "--dry-run", "--verbose", "--json").stdout)
        return {item["digest"]: (item.get("goes", False), item["reason"]) for item in answer["items"]}

    def files(self):
        """What lies in the artifact store, {name: bytes}: an artifact's manifest lies under its digest."""
        blobs = self.daemon.data_dir / "artifacts/blobs"
        return {path.name: path.stat().st_size for path in blobs.rglob("*") if path.is_file()}

    def files_of(self, digest):
        manifest = self.api.get(f"/api/v1/artifacts/{digest}/manifest")
        return {digest, *(file["sha256"] for file in manifest["files"])}

    def test_takes_what_no_rule_keeps(self):
        self.apply(KEEP_ALL)
        for week in range(2):
            self.land(f"week-{week}.csv", table(week))
        weights = []
        for week in range(2, 5):
            self.land(f"week-{week}.csv", table(week))
            self.wait_for_entries(week + 1)
            weights.append(self.train())
        self.assertEqual(3, len(set(weights)))
        self.assertEqual({"champion": 3}, self.api.versions("house-prices")[1])
        going = self.files_of(weights[0]) - self.files_of(weights[1]) - self.files_of(weights[2])
        before = self.files()
        self.assertLessEqual(going, set(before))

        # All were used just now.
        self.apply(KEEP_FEW)
        goes, reason = self.plan()[weights[0]]
        self.assertFalse(goes)
        self.assertIn("within the grace period of 86400 s", reason)
        self.restart("--gc-grace-s", "1", FRESHET_CRASH_AT="gc.finish.before_commit")
        plan = wait_for(lambda: self.plan() if self.plan()[weights[0]][0] else None, "the grace period to end")
        self.assertEqual("house-prices/1: not one of the newest 1, nor of the best 0 by r2; no alias pointed to it within 0 days",
                         plan[weights[0]][1])
        self.assertEqual((False, "house-prices/2: a rollback of alias champion would go to it"), plan[weights[1]])
        self.assertEqual((False, "house-prices/3: alias champion points to it"), plan[weights[2]])
        self.assertEqual(before, self.files(), "a dry run removes nothing")

        killed = self.daemon.cli("gc", check=False)
        self.assertEqual(NO_ANSWER, killed.returncode, killed.stderr)
        self.assertEqual(-signal.SIGKILL, self.daemon.process.wait(10))
        self.restart("--gc-grace-s", "1")
        self.assertTrue(self.plan()[weights[0]][0])
        done = self.daemon.cli("gc", "--reason", "room for the new season")
        self.assertIn("artifacts went", done.stdout)
        self._has_gone(weights, going, before)
        # The newest reports may still be within their grace period.
        wait_for(lambda: self.daemon.cli("gc").stdout.startswith("0 artifacts went"), "nothing to be left that goes")
        self.assertLessEqual(self.files_of(weights[1]) | self.files_of(weights[2]), set(self.files()))

    def _has_gone(self, weights, going, before):
        left = self.files()
        self.assertFalse(going & set(left))
        self.assertLess(sum(left.values()), sum(before.values()))
        self.assertLessEqual(self.files_of(weights[1]) | self.files_of(weights[2]), set(left))
        _, _, metrics = self.api.raw("GET", "/metrics", token=False)
        sealed = list((self.daemon.data_dir / "artifacts/sealed").iterdir())
        self.assertIn(f"freshet_artifacts {len(sealed)}\n", metrics.decode())

        # The record stays and says what happened; what it would take to use the version does not.
        version = self.api.get("/api/v1/models/house-prices/versions/1")
        self.assertEqual(weights[0], version["artifact_digest"])
        self.assertIn("not one of the newest 1", version["artifact_collected_reason"])
        with self.assertRaises(ApiError) as refused:
            self.api.post("/api/v1/models/house-prices/promote", {"version": 1, "reason": "the old one"})
        self.assertEqual(409, refused.exception.status)
        self.assertIn("was collected at", refused.exception.message)
        self.assertIn("house-prices/1", self.daemon.cli("lineage", "house-prices/1").stdout)
        told = [record for record in self.api.all("/api/v1/audit", "records")
                if record["action"] == f"collect artifact {weights[0]}"]
        self.assertEqual(1, len(told))
        self.assertIn("not one of the newest 1", told[0]["reason"])
        self.daemon.cli("audit", "verify")

        # The version before the champion serves as it did, and the next run starts and ends.
        self.api.post("/api/v1/models/house-prices/rollback", {"reason": "as it was"})
        self.assertEqual({"champion": 2}, self.api.versions("house-prices")[1])
        self.daemon.wait_for_node()
        self.train()


if __name__ == "__main__":
    unittest.main()

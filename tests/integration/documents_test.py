"""Documents and repositories that are wrong get an answer that says what to change, and change nothing."""

import os
import subprocess
import unittest

from support import PIPELINE, DaemonCase, wait_for

GIT_SOURCE = """
api_version: freshet/v1
kind: Source
metadata: {name: code}
spec: {git: {uri: "file://${DIR}/code", branch: release, poll_interval_ms: 100}}
"""


class DocumentsTest(DaemonCase):
    def test_bad_documents(self):
        cases = (
            ("unknown key", "  seed: 11", "  seeds: 11",
             "documents.yaml:12: spec.seeds: unknown key; did you mean 'seed'?"),
            ("duplicate key", "  seed: 11", "  seed: 11\n  seed: 12",
             "documents.yaml:13: spec.seed: duplicate key; it is already on line 12"),
            ("wrong type", "  seed: 11", "  seed: many",
             "documents.yaml:12: spec.seed: expected a whole number, got 'many'"),
            ("unknown step", "needs: [fit]", "needs: [fitt]", "there is no step 'fitt'"),
            ("unknown metric", "metric: r2", "metric: auc", "'auc' is not measured"),
            ("unknown variable", "${DIR}", "${DIRECTORY}", "DIRECTORY"),
            ("unknown source", "source: sales,", "source: sails,", "sails"),
        )
        for name, before, after, message in cases:
            with self.subTest(name):
                self.assertIn(before, PIPELINE)
                done = self.apply(PIPELINE.replace(before, after), check=False)
                self.assertNotEqual(0, done.returncode)
                self.assertIn(message, done.stderr)
        self.assertEqual([], self.api.all("/api/v1/pipelines", "pipelines"))
        self.assertEqual([], self.api.all("/api/v1/sources", "sources"))

    def git(self, *arguments):
        environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments], env=environment,
                              cwd=self.landing / "code", text=True, stdout=subprocess.PIPE, check=True)
        return done.stdout.strip()

    def wait_for_status(self, condition, what):
        def look():
            status = self.api.source("code").get("status")
            return status if status and condition(status) else None
        return wait_for(look, what, 20, lambda: str(self.api.source("code")))

    def test_missing_repository_and_branch(self):
        self.apply(GIT_SOURCE)
        status = self.wait_for_status(lambda status: status.get("degraded"), "a degraded source")
        self.assertIn(str(self.landing / "code"), status["message"])
        self.assertIn("trying again every 100 ms", status["message"])
        (self.landing / "code").mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("commit", "--quiet", "--allow-empty", "-m", "first")
        status = self.wait_for_status(lambda status: "release" in status.get("message", ""), "the missing branch")
        self.assertTrue(status["degraded"])
        self.git("branch", "release")
        status = self.wait_for_status(lambda status: not status.get("degraded"), "a source that is well")
        self.assertEqual(self.git("rev-parse", "release"), status["head_commit"])
        self.assertNotIn("message", status)


if __name__ == "__main__":
    unittest.main()

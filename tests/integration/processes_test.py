"""Programs that cannot start or do not behave: the message says why, and what went before is unharmed."""

import subprocess
import unittest

from support import PIPELINE, DaemonCase, table

# One step more, which does not do what it should.
COMMAND = """      - name: extra
        command:
          argv: {argv}
          outputs: {outputs}
"""


class StartTest(DaemonCase):
    def start_in_vain(self, data_dir, listen):
        command = [str(self.daemon.binaries / "freshetd"), "--data-dir", str(data_dir), "--listen", listen,
                   "--no-local-agent"]
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertEqual(200, self.api.raw("GET", "/readyz", token=False)[0])
        return done.stderr.strip().splitlines()[-1]

    def test_port_in_use(self):
        message = self.start_in_vain(self.dir / "other", self.daemon.listen)
        self.assertIn(f"port {self.daemon.listen.rpartition(':')[2]} is in use", message)

    def test_data_directory_in_use(self):
        message = self.start_in_vain(self.daemon.data_dir, "127.0.0.1:0")
        self.assertIn(str(self.daemon.data_dir), message)
        self.assertRegex(message, "in use|locked|another")


class WorkerTest(DaemonCase):
    def run_with(self, argv, outputs="[]"):
        step = COMMAND.format(argv=argv, outputs=outputs)
        documents = PIPELINE.replace("  resources:\n", step + "  resources:\n    - {step: extra, max_attempts: 1}\n")
        self.apply(documents)
        done = self.api.post("/api/v1/runs", {"pipeline": "prices"})
        view = self.wait_for_end(done["id"])
        self.assertEqual("FAILED", view["run"]["state"])
        attempts = [attempt for attempt in view["attempts"] if attempt["work"]["step"] == "extra"]
        self.assertEqual(1, len(attempts))
        return view["run"]["message"]

    def test_commands_that_fail(self):
        self.apply(PIPELINE.replace("min_entries: 3", "min_entries: 100"))
        for week in range(2):
            self.land(f"week-{week}.parquet", table(week))
        self.wait_for_entries(2)
        cases = (
            ("crashes", '[sh, -c, "kill -SEGV $$$$"]', "[]", "SIGSEGV|signal 11|[Ss]egmentation"),
            ("exits with a code", '[sh, -c, "echo the disk is on fire >&2; exit 3"]', "[]", "the disk is on fire"),
            ("exits in silence", '[sh, -c, "exit 7"]', "[]", "7"),
            ("is not there", "[/nowhere/program]", "[]", "/nowhere/program.*No such file"),
            ("leaves nothing", '["true"]', "[{name: numbers, type: files}]", "numbers"),
        )
        for name, argv, outputs, message in cases:
            with self.subTest(name):
                self.assertRegex(self.run_with(argv, outputs), message)


if __name__ == "__main__":
    unittest.main()

"""Programs that cannot start or do not behave: the message says why, and what went before is unharmed."""

import subprocess
import unittest

from support import PIPELINE, DaemonCase, table

# Steps that do not do what they should: name, command, outputs, what their message must say.
BAD_STEPS = (
    ("crash", '[sh, -c, "kill -SEGV $$"]', "[]", "SIGSEGV|signal 11|[Ss]egmentation"),
    ("complain", '[sh, -c, "echo the disk is on fire >&2; exit 3"]', "[]", "code 3: the disk is on fire"),
    ("say-nothing", '[sh, -c, "exit 7"]', "[]", "exited with code 7 and printed nothing"),
    ("not-there", "[/nowhere/program]", "[]", "cannot start /nowhere/program: No such file"),
    ("leave-nothing", '["true"]', "[{name: numbers, type: files}]", 'left no directory "numbers"'),
)


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


    def test_beyond_loopback(self):
        for listen in ("0.0.0.0:0", "[::]:0", "192.0.2.1:7070", "8.8.8.8:0"):
            with self.subTest(listen):
                message = self.start_in_vain(self.dir / "other", listen)
                self.assertIn("refusing to listen on " + listen, message)
                self.assertIn("TLS", message)
        self.assertIn("ADDRESS:PORT", self.start_in_vain(self.dir / "other", "example.org:80"))


class WorkerTest(DaemonCase):
    def test_commands_that_fail(self):
        steps = "".join(f"      - {{name: {name}, command: {{argv: {argv}, outputs: {outputs}}}}}\n"
                        for name, argv, outputs, _ in BAD_STEPS)
        resources = "".join(f"    - {{step: {name}, max_attempts: 2}}\n" for name, *_ in BAD_STEPS)
        self.apply(PIPELINE.replace("  resources:\n", steps + "  resources:\n" + resources)
                   .replace("min_entries: 3", "min_entries: 2"))
        for week in range(2):
            self.land(f"week-{week}.parquet", table(week))
        view = self.wait_for_run()
        self.assertEqual("FAILED", view["run"]["state"])
        states = {step["name"]: step for step in view["run"]["steps"]}
        for name, _, _, message in BAD_STEPS:
            with self.subTest(name):
                self.assertEqual("FAILED", states[name]["state"])
                self.assertRegex(states[name]["message"], message)
                self.assertRegex(states[name]["message"], "failure 2 of 2, given up")
                epochs = [attempt["epoch"] for attempt in view["attempts"] if attempt["work"]["step"] == name]
                self.assertEqual(["1", "2"], sorted(epochs))
        # What does not need them is unharmed.
        self.assertEqual("SUCCEEDED", states["publish"]["state"])
        self.assertEqual({"champion": 1}, self.api.versions("house-prices")[1])


if __name__ == "__main__":
    unittest.main()

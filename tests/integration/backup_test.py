"""Backup and restore with real programs: a backup while runs are submitted, damage that is named, and a restored daemon that
serves what was there and trains."""

import os
import subprocess
import threading
import unittest

from support import BINARIES, PIPELINE, DaemonCase, table, wait_for


class BackupTest(DaemonCase):
    def freshet(self, *arguments):
        return subprocess.run([str(BINARIES / "freshet"), *map(str, arguments)], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    def test_backup_and_restore(self):
        self.apply(PIPELINE.replace("min_entries: 3", "min_entries: 100"))
        for week in range(3):
            self.land(f"week-{week}.csv", table(week))
        self.wait_for_entries(3)
        trained = self.wait_for_end(self.api.post("/api/v1/runs", {"pipeline": "prices"})["id"])
        self.assertEqual("SUCCEEDED", trained["run"]["state"], trained["run"].get("message"))
        backup, restored = self.dir / "backup", self.dir / "restored"

        stop, submitted = threading.Event(), []
        self.addCleanup(stop.set)
        thread = threading.Thread(target=self._submit, args=(stop, submitted))
        thread.start()
        wait_for(lambda: submitted, "runs to be submitted")
        done = self.daemon.cli("backup", str(backup))
        before = len(submitted)
        wait_for(lambda: len(submitted) > before, "submits to go on after the backup")
        stop.set()
        thread.join()
        self.assertIn("holds revision", done.stdout)
        verified = self.freshet("backup", "verify", backup)
        self.assertEqual((0, ""), (verified.returncode, verified.stderr))
        again = self.daemon.cli("backup", str(backup), check=False)
        self.assertEqual(1, again.returncode)
        self.assertIn("is not an empty directory", again.stderr)
        self.daemon.stop()

        done = self.freshet("restore", backup, "--data-dir", restored)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertEqual(1, self.freshet("restore", backup, "--data-dir", restored).returncode)
        self._is_restored(restored, trained)
        self._damage_is_named(backup)

    def _submit(self, stop, submitted):
        from support import Api
        api = Api(self.api.url, self.api.token)
        while not stop.is_set() and len(submitted) < 300:
            submitted.append(api.post("/api/v1/runs", {"pipeline": "prices"})["id"])
        api.close()

    def _is_restored(self, restored, trained):
        daemon = self.new_daemon("restored")
        daemon.start().wait_for_node()
        term = int(daemon.api.get("/api/v1/version")["term"])
        self.assertGreater(term, 1_700_000_000)
        self.assertEqual(trained["run"], daemon.api.run(trained["run"]["id"])["run"])
        versions, aliases = daemon.api.versions("house-prices")
        self.assertEqual((1, {"champion": 1}), (len(versions), aliases))
        # Its queue goes on by itself, with artifacts that came out of the backup.
        waiting = daemon.api.runs(state="QUEUED") + daemon.api.runs(state="RUNNING")
        self.assertTrue(waiting)
        for run in waiting[1:]:
            daemon.api.post(f"/api/v1/runs/{run['id']}/cancel", {})

        def ended():
            run = daemon.api.run(waiting[0]["id"])["run"]
            return run if run["state"] in ("SUCCEEDED", "FAILED") else None
        run = wait_for(ended, "a run of the restored daemon to end", 60, daemon.last_log_lines)
        self.assertEqual("SUCCEEDED", run["state"], run.get("message"))
        daemon.stop()

    def _damage_is_named(self, backup):
        largest = max((path for path in backup.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.unlink()  # a linked file is the daemon's own too
        largest.write_bytes(content)
        for words in (("backup", "verify", backup), ("restore", backup, "--data-dir", self.dir / "never")):
            done = self.freshet(*words)
            self.assertEqual(1, done.returncode)
            self.assertIn(str(largest), done.stderr)
        self.assertFalse(os.path.exists(self.dir / "never"))


if __name__ == "__main__":
    unittest.main()

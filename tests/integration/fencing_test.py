"""An agent that is paused for longer than its lease: another node takes the step with the next epoch, and what the first has
when it wakes changes nothing."""

import os
import signal
import unittest

from support import PIPELINE, DaemonCase, is_alive, table, wait_for

LEASE_MS = 1500


class FencingTest(DaemonCase):
    starts_daemon = False

    def setUp(self):
        super().setUp()
        self.daemon.options = ["--heartbeat-ms", "100", "--lease-ms", str(LEASE_MS)]
        self.daemon.start().wait_for_node()
        self.api = self.daemon.api

    def start(self, step, pipeline, processes):
        """The id of a run whose `step` runs on the first node, with so many processes in its record."""
        self.step = step
        self.apply(pipeline.replace("min_entries: 3", "min_entries: 2"))
        for week in range(2):
            self.land(f"week-{week}.parquet", table(week))
        run_id = wait_for(self.api.runs, "a run", 40, self.daemon.last_log_lines)[0]["id"]
        wait_for(lambda: any(len(attempt.get("processes", [])) == processes for attempt in self.attempts(run_id)),
                 "the ranks to run", 30, self.daemon.last_log_lines)
        return run_id

    def attempts(self, run_id):
        """Of the step, by epoch."""
        attempts = self.api.run(run_id).get("attempts", [])
        return sorted((attempt for attempt in attempts if attempt["work"]["step"] == self.step),
                      key=lambda attempt: int(attempt["epoch"]))

    def pause_first_agent(self):
        pid, ticks = self.daemon.agent_process()
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: is_alive(pid, ticks) and os.kill(pid, signal.SIGCONT))
        return pid

    def wake(self, first, pid):
        """Lets the agent of the attempt `first` go on, of whose gang nothing may be left then."""
        gang = self.daemon.data_dir / "agent/gangs" / first["gang_id"]
        os.kill(pid, signal.SIGCONT)
        wait_for(lambda: not gang.exists(), "the fenced gang to be stopped and removed", 30, self.daemon.last_log_lines)
        for process in first["processes"]:
            self.assertFalse(is_alive(int(process["pid"]), int(process["start_ticks"])), process)

    def wait_for_next_epoch(self, run_id):
        """The attempt that was fenced."""
        wait_for(lambda: self.attempts(run_id)[-1]["epoch"] == "2", "the next epoch", 30, self.daemon.last_log_lines)
        first, second = self.attempts(run_id)
        self.assertEqual(("1", "LOST", "second"), (first["epoch"], first["state"], second["node"]))
        return first

    def test_silent_gang_of_a_paused_agent_is_stopped_when_it_wakes(self):
        hold = '      - {name: hold, command: {argv: [sleep, "600"]}}\n'
        run_id = self.start("hold", PIPELINE.replace("  resources:\n", hold + "  resources:\n").replace("ranks: 2", "ranks: 1"), 1)
        pid = self.pause_first_agent()
        self.start_second_node()
        first = self.wait_for_next_epoch(run_id)
        launcher = first["processes"][0]
        self.assertTrue(is_alive(int(launcher["pid"]), int(launcher["start_ticks"])), "a lease limits what may be published")
        self.wake(first, pid)
        wait_for(lambda: ["LOST", "RUNNING"] == [attempt["state"] for attempt in self.attempts(run_id)],
                 "the second gang to run, and the first to be lost", 30)

    def test_output_of_a_paused_agent_is_refused_when_it_wakes(self):
        run_id = self.start("fit", PIPELINE.replace("epochs: 20", "epochs: 300"), 3)
        pid = self.pause_first_agent()
        gang = self.daemon.data_dir / "agent/gangs" / self.attempts(run_id)[0]["gang_id"]
        wait_for((gang / "exit.pb").exists, "the gang to end while its agent is paused", 40)
        self.assertTrue(any((gang / "output").iterdir()), "it has made a model")
        self.start_second_node()
        first = self.wait_for_next_epoch(run_id)
        mark = int(self.api.get("/api/v1/audit")["records"][0]["revision"])
        self.wake(first, pid)
        self.assertEqual("SUCCEEDED", self.wait_for_end(run_id, 60)["run"]["state"])
        lost, made = self.attempts(run_id)
        self.assertEqual(("1", "LOST", None), (lost["epoch"], lost["state"], lost.get("outputs")))
        self.assertEqual(("2", "SUCCEEDED", "second"), (made["epoch"], made["state"], made["node"]))
        versions, aliases = self.api.versions("house-prices")
        self.assertEqual((1, {"champion": 1}), (len(versions), aliases))
        actor = f"agent/{first['node']}"
        told = [record["action"] for record in self.api.get("/api/v1/audit", page_size=200)["records"]
                if int(record["revision"]) > mark and record["actor"] == actor]
        self.assertFalse(any(first["gang_id"] in action for action in told), told)


if __name__ == "__main__":
    unittest.main()

"""What bench/gpu/run computes, and what becomes of a run whose programs hang, crash or talk nonsense."""

import json
import pathlib
import subprocess
import tempfile
import time
import unittest

import checks
import goals
import kernel_times
import models
import shapes
from section import Section

HERE = pathlib.Path(__file__).resolve().parent

LISTS = r"""#!/usr/bin/env python3
import os, signal, sys, time
if "--gtest_list_tests" in sys.argv:
    print("Good.\n  One\nHangs/Attention.\n  Two/0  # GetParam() = 0\nCrashes.\n  Three\n  Four\nRanks/DeviceStepGang.\n  Five/0\nRanks/TabularDeviceGang.\n  Six/0")
    sys.exit()
for name in next(a for a in sys.argv if a.startswith("--gtest_filter=")).partition("=")[2].split(":"):
    print(f"[ RUN      ] {name}", flush=True)
    if "Hangs" in name:
        time.sleep(1000)
    if "Crashes" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    print(f"[       OK ] {name} (0 ms)", flush=True)
"""

# A program that works with --safe only; without it, as its first argument says.
ANSWERS = r"""#!/usr/bin/env python3
import sys, time
print('{"version": "1"}', flush=True)
for line in sys.stdin:
    if "--safe" not in sys.argv and "hang" in sys.argv:
        time.sleep(1000)
    if "--safe" not in sys.argv and "crash" in sys.argv:
        sys.exit(3)
    print('nonsense' if "--safe" not in sys.argv and "talk" in sys.argv else '{"seconds": [0.5], "losses": [nan]}', flush=True)
"""


class BenchTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="freshet-gpu-bench-test.")
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)
        options = dict(rehearse=False, quick=False, python="none", binaries=str(self.work))
        self.section = Section(dict(options=options, work=str(self.work), raw=str(self.work / "raw"), limit=10))

    def program(self, name, text):
        path = self.work / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def rows(self):
        return [json.loads(line) for line in (self.work / "raw").read_text().splitlines()]

    def test_operations_of_a_token(self):
        config = dict(models.GPT2["124M"], length=1024)
        self.assertEqual(models.parameters(config), 124_439_808)
        # 6 N for products of parameters, and 12 L C T for scores and what they weigh, of which causal attention needs half.
        self.assertEqual(shapes.operations_per_token(config), 6 * 124_439_808 + 6 * 12 * 768 * 1024)
        self.assertAlmostEqual(shapes.mfu(config, 1e6), 100 * 803_262_000_000_000 / 989e12, 2)
        self.assertEqual(models.parameters(models.GPT2["1558M"]), 1_557_611_200)

    def test_rates(self):
        self.assertEqual(kernel_times.rate(dict(bytes=4.3e9, microseconds=1000), "bytes"), 4300)
        self.assertEqual(kernel_times.rate(dict(operations=2 * 8192 ** 3, microseconds=2000), "operations"), 8192 ** 3 / 1e9)

    def test_every_goal_has_a_line_with_its_limits(self):
        lines = goals.table([dict(goal="snapshot", value=2.0, ours="a", theirs="b")], {"fp8": "why not"})
        self.assertEqual(len(lines), 2 + len(goals.GOALS))
        self.assertIn("| snapshot to host memory every step: throughput lost | 2 % | 3.5 / 1 | must | a | b |  |", lines)
        self.assertIn("| fp8 over own bf16 at 1558M, tokens/s | not measured | 1.1 / 1.3 | | | | why not |", lines)
        self.assertEqual([goals.verdict(value, 1.05, 1.25) for value in (1.0, 1.05, 1.25, "text")], ["**missed**", "must", "aim", ""])
        self.assertEqual([goals.verdict(value, 5, 0) for value in (6, 5, 0)], ["**missed**", "must", "aim"])

    def test_a_suite_that_hangs_or_crashes_costs_no_other(self):
        for name in ("kernels_cuda_test", "worker_gpu_test"):
            self.program(name, LISTS)
        checks.SUITE_SECONDS, kept = 2, checks.SUITE_SECONDS
        self.addCleanup(setattr, checks, "SUITE_SECONDS", kept)
        checks.tests(self.section)
        found = {row["goal"]: row for row in self.rows() if "goal" in row}
        self.assertEqual(found["tests"]["value"], "**FAILED**")
        for text in ("3 passed", "Hangs/Attention.Two/0 did not end in 2 s", "Crashes.Three ended with status -11",
                     "Crashes.Four was not run"):
            self.assertIn(text, found["tests"]["note"])
        self.assertEqual((found["ranks"]["value"], found["ranks"]["note"]), ("passed", "2 passed"))
        self.assertTrue(self.section.is_safe())

    def test_what_fails_is_tried_again_safely(self):
        for how, reason in (("hang", "did not answer in 1 s"), ("crash", "ended with status 3"), ("talk", "answered 'nonsense")):
            program = self.program(how, ANSWERS)

            def start(safe):
                trainee = self.section.ours([program, how, *safe], 1)
                try:
                    trainee.steps(1)
                finally:
                    trainee.stop()
                return trainee

            self.assertEqual(self.section.safely(start).name, "Freshet --safe")
            self.assertIn(reason, self.rows()[-1]["safe"])
            self.assertEqual(self.section.safely(start).name, "Freshet --safe")
            (self.work / "safe").unlink()

    def test_the_table_comes_whatever_the_programs_do(self):
        for name in ("kernels_cuda_test", "worker_gpu_test"):
            self.program(name, LISTS.replace("sleep(1000)", "sleep(0)"))
        for name in ("kernels_bench_gpu", "gpt_train_gpu"):
            self.program(name, "#!/usr/bin/env bash\nyes nonsense | head -n 1000000 >&2\necho nonsense\n")
        self.program("recommender_bench", "#!/usr/bin/env bash\nkill -SEGV $$\n")
        began = time.monotonic()
        done = subprocess.run([HERE / "run", "--python", "none", "--binaries", self.work, "--results",
                               self.work / "results", "--seconds", "60", "--check"], capture_output=True, text=True, timeout=120)
        self.assertLess(time.monotonic() - began, 60)
        self.assertEqual(done.returncode, 1)
        self.assertNotIn("recommender_bench'", done.stdout)
        for what in ("| tests of kernels and training on this GPU | **FAILED**  |", "answered 'nonsense", "recommender_bench ended with status -11", "products: "):
            self.assertIn(what, done.stdout + done.stderr)
        lines = [line for line in done.stdout.splitlines() if line.startswith("| ") and "not measured" in line]
        self.assertGreater(len(lines), 15)
        for path in (self.work / "results").iterdir():
            self.assertLess(path.stat().st_size, 16 << 20)


if __name__ == "__main__":
    unittest.main()

"""A program of this benchmark that does as its standard input tells it, a line each, and answers each with a line of JSON."""

import json
import os
import re
import statistics
import subprocess
import threading


class Trainee:
    """A process that makes steps when it is told to, on `threads` threads. It has `seconds_max` for each answer."""

    def __init__(self, name, command, threads, seconds_max=3600):
        self.name, self.results, self.seconds_max = name, [], seconds_max
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, errors="replace", env=environment)
        self.version = self.answer()["version"]

    def answer(self):
        timer = threading.Timer(self.seconds_max, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        is_late = not timer.is_alive()
        timer.cancel()
        if is_late:
            self.process.wait(20)  # what it has on a device is free then
            raise RuntimeError(f"{self.name} did not answer in {self.seconds_max} s")
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self.process.wait()}: its messages are above")
        try:
            # What C++ prints of a loss that is no number is no JSON.
            return json.loads(re.sub(r"(?<=[\[ ])-?(nan|inf)(?=[,\]}])", "NaN", line))
        except ValueError:
            self.process.kill()
            self.process.wait(20)
            raise RuntimeError(f"{self.name} answered {line[:80]!r}") from None

    def say(self, line):
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # answer() says with what status it ended
        return self.answer()

    def steps(self, count):
        result = self.say(count)
        self.results.append(result)
        return result

    def seconds(self):
        """Of a step, in the rounds after the first."""
        return statistics.median(second for result in self.results[1:] for second in result["seconds"])

    def cpu_seconds(self):
        """Of a step, on all cores together: what is left to compare on a machine that has other work."""
        return statistics.median(result["cpu_seconds"] for result in self.results[1:])

    def losses(self):
        return [loss for result in self.results for loss in result["losses"]]

    def peak_mib(self):
        return self.results[-1]["peak_mib"]

    def stop(self):
        try:
            self.process.communicate(timeout=min(60, self.seconds_max))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

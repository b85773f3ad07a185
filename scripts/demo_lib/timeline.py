"""What the demo prints: headings, events with their time since the start, and checked claims."""

import sys
import time


class DemoFailed(Exception):
    """A claim of the demo does not hold."""


def grouped(number):
    return f"{int(number):,}"


class Timeline:
    """One line an event. `at_us` is wall-clock time as the daemon records it; without it the event happens now."""

    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.start_us = time.time_ns() // 1000
        self.coloured = stream.isatty()
        self.claims = 0

    def _styled(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.coloured else text

    def line(self, text=""):
        print(text, file=self.stream, flush=True)

    def heading(self, text):
        self.line()
        self.line(self._styled(text, "1"))

    def seconds(self, at_us=None):
        return ((time.time_ns() // 1000 if at_us is None else int(at_us)) - self.start_us) / 1e6

    def event(self, text, at_us=None):
        self.line(f"{self._styled(f'{self.seconds(at_us):8.2f} s', '2')}  {text}")

    def detail(self, text):
        """What belongs to the event above; several lines at once."""
        for line in text.rstrip().splitlines():
            self.line(f"{'':10}  {line}".rstrip())

    def command(self, text):
        self.event(self._styled(f"$ {text}", "36"))

    def check(self, holds, claim, otherwise=""):
        """Prints the claim when it holds, and ends the demo when it does not."""
        if not holds:
            raise DemoFailed(claim + (f"\n  {otherwise}" if otherwise else ""))
        self.claims += 1
        self.line(f"{self._styled('        ok', '32')}  {claim}")


def table(rows, header):
    """Columns as wide as they need to be; numbers to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def is_number(text):
        return text.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()

    right = [all(is_number(row[i]) or row[i] in ("", "-") for row in rows) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(width) if to_right else cell.ljust(width)
                 for cell, width, to_right in zip(row, widths, right)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)

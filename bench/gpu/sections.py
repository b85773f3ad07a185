"""The sections of bench/gpu/run, a process each: `sections.py NAME SETTINGS`. A section says what it finds as soon as it has found
it, a row a goal (goals.py), and raises what it can't go on after."""

import json
import sys

import checks
import gpt_training
import kernel_times
import recommenders
from section import Section

RUN = {"tests": checks.tests, "sanitizer": checks.sanitizer, "ceilings": kernel_times.ceilings, "attention": kernel_times.attention,
       "memory_bound": kernel_times.memory_bound, "products": kernel_times.products, "gpt": gpt_training.gpt,
       "small_batch": gpt_training.small_batch, "snapshot": gpt_training.snapshot, "recommender": recommenders.recommender,
       **{f"large_{size}": lambda section, size=size: gpt_training.large(section, size) for size in ("350M", "774M", "1558M")}}


def main():
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    RUN[name](Section(settings))


if __name__ == "__main__":
    main()

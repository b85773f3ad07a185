"""A language model goes from the arrival of text to a champion, is trained anew from it as more text arrives, and refuses text
that is not like the rest."""

import json
import random
import unittest

from support import DaemonCase, wait_for

PIPELINE = """
api_version: freshet/v1
kind: Source
metadata: {name: letters}
spec: {directory: {uri: "file://${DIR}"}}
---
api_version: freshet/v1
kind: Pipeline
metadata: {name: letters}
spec:
  seed: 3
  inputs:
    - name: letters
      source: letters
      holdout_newest_entries: 1
      validation: {champion: {metric: bits_per_byte, max: 4}}
  recipe:
    steps:
      - name: fit
        train:
          gpt: {layers: 1, heads: 2, width: 32, context: 32, vocabulary: ${VOCABULARY}}
          optimizer: {learning_rate: 0.01, clip_norm: 1}
          batch: {micro_batch_rows: 4, micro_batches: 4}
          epochs: 3
          warm_start: true
      - {name: score, needs: [fit], evaluate: {}}
      - {name: publish, needs: [score], promote: {}}
  resources:
    - {step: fit, ranks: 2}
  gates:
    - {name: fluent, absolute: {metric: bits_per_byte, max: 3.5}}
    - {name: not-worse, relative: {margin: 0.05}}
---
api_version: freshet/v1
kind: Trigger
metadata: {name: new-letters}
spec:
  pipeline: letters
  new_data: {input: letters, min_entries: 2, debounce_ms: 100}
"""
NOUNS = ("cat", "dog", "bird", "fish", "horse")
VERBS = ("sees", "likes", "follows", "hears")


def letter(seed, sentences=220):
    draw = random.Random(seed)
    return "".join(f"the {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)}.\n" for _ in range(sentences))


def noise(seed, characters=6000):
    draw = random.Random(seed)
    return "".join(chr(draw.randint(33, 126)) for _ in range(characters))


def documents(seed, count=5):
    return "".join(json.dumps({"text": letter(seed + i, 40)}) + "\n" for i in range(count)).encode()


class TextTest(DaemonCase):
    def arrival_to_champion(self, vocabulary):
        pipeline = PIPELINE.replace("${VOCABULARY}", str(vocabulary))
        # The first run waits for all three: each takes a moment to be inspected.
        self.apply(pipeline.replace("min_entries: 2", "min_entries: 3"))
        for month in range(3):
            self.land(f"2026-{month + 1:02}.txt", letter(month).encode())
        first = self.wait_for_run()["run"]
        self.assertEqual("letters/1 is now champion", first.get("message"))
        versions, _ = self.api.versions("letters")
        metrics = {metric["name"]: metric["value"] for metric in versions[0]["metrics"]}
        self.assertEqual({"loss", "perplexity", "bits_per_byte"}, set(metrics))
        self.assertLess(metrics["bits_per_byte"], 3.5)
        self.apply(pipeline)
        return first

    def test_bytes(self):
        self.arrival_to_champion(0)
        self.land("2026-04.txt", noise(1).encode())
        refused = wait_for(lambda: self.api.entries("letters", "letters", "QUARANTINED"), "the noise to be refused", 60,
                           self.daemon.last_log_lines)
        self.assertIn("champion letters/1 scores bits_per_byte", refused[0]["reason"])
        self.land("2026-05.txt", letter(5).encode())
        self.land("2026-06.jsonl", documents(60))
        runs = wait_for(lambda: [run for run in self.api.runs() if run["state"] == "SUCCEEDED"][1:], "the second run", 120,
                        self.daemon.last_log_lines)
        self.assertEqual(1, len(runs))
        versions, _ = self.api.versions("letters")
        self.assertEqual(2, len(versions))

    def test_learnt_vocabulary(self):
        self.arrival_to_champion(300)
        replayed = json.loads(self.daemon.cli("replay", "letters/1", "--wait", "--json").stdout)
        self.assertTrue(replayed["replays"][0]["is_equal"], replayed["message"])


if __name__ == "__main__":
    unittest.main()

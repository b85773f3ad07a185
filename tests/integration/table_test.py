"""Nothing in Freshet knows the demo's data: another table, with other columns, types and a regression label, goes from its
arrival to a champion with a YAML file only."""

import unittest

from support import PIPELINE, ROWS, DaemonCase, table


class TableTest(DaemonCase):
    def arrival_to_champion(self, extension):
        # Not before all have come: each takes a moment to be inspected.
        self.apply(PIPELINE.replace("min_entries: 3", "min_entries: 4"))
        for week in range(4):
            self.land(f"week-{week}.{extension}", table(week))
        run = self.wait_for_run()["run"]
        self.assertEqual("SUCCEEDED", run["state"], run.get("message"))
        self.assertEqual("house-prices/1 is now champion", run["message"])
        self.assertEqual([f"week-3.{extension}"], run["inputs"][0]["holdout"])
        versions, aliases = self.api.versions("house-prices")
        self.assertEqual({"champion": 1}, aliases)
        metrics = {metric["name"]: metric["value"] for metric in versions[0]["metrics"]}
        self.assertEqual({"rmse", "mae", "r2"}, set(metrics))
        self.assertGreater(metrics["r2"], 0.8)
        dataset = self.api.get(f"/api/v1/datasets/{run['inputs'][0]['dataset_digest']}")
        self.assertEqual(4 * ROWS, int(dataset["rows"]))

    def test_csv(self):
        self.arrival_to_champion("csv")

    def test_parquet(self):
        self.arrival_to_champion("parquet")


if __name__ == "__main__":
    unittest.main()

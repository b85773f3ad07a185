"""The API of a real daemon: nothing but three routes without a token, and metrics that Prometheus' own tool finds clean."""

import os
import re
import subprocess
import unittest

from support import PIPELINE, ROOT, Api, DaemonCase, table

PUBLIC = {"/healthz", "/readyz", "/metrics"}


class ApiTest(DaemonCase):
    def routes(self):
        """(method, path) of every row of docs/API.md, which a unit test holds equal to the route table."""
        page = (ROOT / "docs/API.md").read_text()
        rows = re.findall(r"^\| ([A-Z]+) \| `(/[^`]*)` \|", page, re.MULTILINE)
        return [(method, re.sub(r"\{[^}]*\}", "x", path)) for method, path in rows]

    def test_routes_without_token(self):
        routes = self.routes()
        self.assertGreater(len(routes), 30)
        for method, path in routes:
            with self.subTest(f"{method} {path}"):
                status, headers, body = self.api.raw(method, path, token=False)
                if path in PUBLIC:
                    self.assertEqual(200, status, body)
                else:
                    self.assertEqual(401, status, body)
                    self.assertEqual("Bearer", headers["WWW-Authenticate"])
                    self.assertIn("admin.token", body.decode())
        stranger = Api(self.api.url, "fsh_admin_" + "x" * 43)
        self.addCleanup(stranger.close)
        status, _, body = stranger.raw("GET", "/api/v1/runs")
        self.assertEqual((401, True), (status, b"not valid" in body))
        self.assertEqual(0o600, self.daemon.token_path.stat().st_mode & 0o777)

    def test_metrics_are_clean(self):
        self.apply(PIPELINE)
        for week in range(3):
            self.land(f"week-{week}.csv", table(week))
        self.wait_for_run()
        status, _, text = self.api.raw("GET", "/metrics", token=False)
        self.assertEqual(200, status)
        self.assertIn(b'freshet_promotions_total{model="house-prices"} 1', text)
        self.assertNotIn(b"freshet_run_loss", text)  # its run has ended
        checked = subprocess.run([os.environ["FRESHET_PROMTOOL"], "check", "metrics"], input=text,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((0, b""), (checked.returncode, checked.stdout))


if __name__ == "__main__":
    unittest.main()

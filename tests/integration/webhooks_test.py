"""Webhooks of a real daemon and a receiver on this machine: signed, repeated under one id until they are taken, in order,
and lost by no kill; addresses that nobody allowed are refused."""

import hashlib
import hmac
import http.server
import json
import os
import threading
import unittest

from support import DaemonCase, wait_for

SECRET = b"between you and me"
WEBHOOK = """
api_version: freshet/v1
kind: Webhook
metadata: {{name: {name}}}
spec:
  url: http://127.0.0.1:{port}{path}
  secret_file: {secret}
  retry_ms: 20
  timeout_ms: {timeout}
  max_attempts: {attempts}
---
"""


class Receiver:
    """Takes POSTs; `answers` are the statuses still to be given, then 204. None: no answer until the test ends."""

    def __init__(self):
        self.got = []
        self.answers = []
        self.over = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                if status is None:
                    receiver.over.wait(30)
                    return
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def ids(self):
        return [headers["X-Freshet-Delivery"] for headers, _ in list(self.got)]


class WebhooksTest(DaemonCase):
    starts_daemon = False

    def setUp(self):
        super().setUp()
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        self.secret = self.dir / "secret"
        self.secret.write_bytes(SECRET + b"\n")
        self.secret.chmod(0o600)

    def start(self, *options, **environment):
        self.daemon.options = ["--no-local-agent", *options]
        self.daemon.environment = {**os.environ, **environment}
        self.daemon.start()
        self.api = self.daemon.api

    def document(self, name="hook", path="/hook", timeout=2000, attempts=15):
        return WEBHOOK.format(name=name, port=self.receiver.port, path=path, secret=self.secret, timeout=timeout,
                              attempts=attempts)

    def webhook(self, name="hook"):
        views = self.api.all("/api/v1/webhooks", "webhooks")
        return next(view for view in views if view["webhook"]["metadata"]["name"] == name)

    def wait_for_deliveries(self, count, name="hook"):
        wait_for(lambda: int(self.webhook(name)["state"].get("delivered", 0)) >= count, f"{count} deliveries", 10,
                 self.daemon.last_log_lines)

    def test_signed_and_repeated(self):
        self.start("--webhook-allow", "127.0.0.0/8")
        self.apply(self.document(timeout=300))
        self.receiver.answers = [500, None, 307]
        source = f"api_version: freshet/v1\nkind: Source\nmetadata: {{name: drops}}\nspec: {{directory: {{uri: " \
                 f"'file://{self.dir}/absent'}}}}\n"
        self.apply(source)  # a directory that is not there: the source is degraded
        self.wait_for_deliveries(1)
        (self.dir / "absent").mkdir()
        self.wait_for_deliveries(2)
        test = json.loads(self.daemon.cli("webhooks", "test", "hook", "--json").stdout)
        self.wait_for_deliveries(3)

        ids = self.receiver.ids()
        self.assertEqual(6, len(ids))
        self.assertEqual(1, len(set(ids[:4])), "four attempts, one id")
        self.assertEqual(test["id"], ids[5])
        self.assertEqual(3, len(set(ids)))
        types = []
        for headers, body in self.receiver.got:
            signature = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
            self.assertEqual(signature, headers["X-Hub-Signature-256"])
            self.assertTrue(headers["Content-Type"].startswith("application/cloudevents+json"))
            event = json.loads(body)
            self.assertEqual("1.0", event["specversion"])
            self.assertEqual(headers["X-Freshet-Delivery"], event["id"])
            self.assertEqual("freshet." + headers["X-Freshet-Event"], event["type"])
            types.append(headers["X-Freshet-Event"])
        self.assertEqual(["source.degraded"] * 4 + ["source.recovered", "webhook.test"], types)
        errors = [attempt.get("error", "") for attempt in self.webhook()["state"]["recent"]]
        self.assertEqual(["", "", ""], errors[3:])
        self.assertTrue(errors[0].endswith("500") and "in time" in errors[1] and errors[2].endswith("307"), errors)
        _, _, metrics = self.api.raw("GET", "/metrics", token=False)
        self.assertIn(b'freshet_webhook_deliveries_total{webhook="hook",outcome="delivered"} 3', metrics)
        self.assertIn(b"freshet_outbox_pending 0", metrics)

    def test_killed_between_commit_and_send(self):
        for point in ("outbox.event.before_send", "outbox.outcome.before_commit"):
            with self.subTest(point):
                before = len(self.receiver.got)
                self.start("--webhook-allow", "127.0.0.0/8", FRESHET_CRASH_AT=point)
                self.apply(self.document())
                name = point.split(".")[1]
                answer = self.daemon.cli("webhooks", "test", "hook", "--idempotency-key", name, check=False)
                wait_for(lambda: self.daemon.process.poll() is not None, "the kill", 10)
                self.start("--webhook-allow", "127.0.0.0/8")
                # Whether the kill took the answer with it or not, the same key makes no second event.
                again = json.loads(
                    self.daemon.cli("webhooks", "test", "hook", "--json", "--idempotency-key", name).stdout)
                wait_for(lambda: int(self.webhook().get("pending", 0)) == 0 and len(self.receiver.got) > before,
                         "the event", 10, self.daemon.last_log_lines)
                ids = self.receiver.ids()[before:]
                self.assertEqual({again["id"]}, set(ids), answer)
                self.assertEqual(1 if "send" in point else 2, len(ids))
                self.daemon.stop()

    def test_refused_addresses_and_dead_letters(self):
        self.start()
        self.apply(self.document(attempts=1) + self.document("other", "/other"))
        for _ in range(2):
            self.daemon.cli("webhooks", "test", "hook")
        wait_for(lambda: int(self.webhook().get("dead_letters", 0)) == 2, "dead letters", 10)
        self.assertEqual([], self.receiver.got)
        dead = self.api.all("/api/v1/dead_letters", "dead_letters", webhook="hook")
        self.assertIn("127.0.0.1 is a loopback address", dead[0]["reason"])
        self.assertIn("loopback", self.daemon.cli("webhooks", "dead").stdout)
        refused = self.daemon.cli("webhooks", "redeliver", "00", check=False)
        self.assertEqual(3, refused.returncode)

        self.daemon.stop()
        self.start("--webhook-allow", "127.0.0.0/8")
        self.daemon.cli("webhooks", "redeliver", dead[1]["event"]["id"])
        self.wait_for_deliveries(1)
        self.assertEqual([dead[1]["event"]["id"]], self.receiver.ids())
        self.daemon.cli("webhooks", "redeliver", "--all")
        self.wait_for_deliveries(2)
        self.assertEqual(dead[0]["event"]["id"], self.receiver.ids()[1])
        self.assertEqual([], self.api.all("/api/v1/dead_letters", "dead_letters"))

        self.secret.chmod(0o644)
        self.daemon.cli("webhooks", "test", "hook")
        wait_for(lambda: self.webhook().get("dead_letters"), "a dead letter", 10)
        self.assertIn("chmod 600", self.webhook()["state"]["last_error"])
        self.assertEqual(2, len(self.receiver.got), "nothing goes out unsigned")


if __name__ == "__main__":
    unittest.main()

"""The registry as one canonical text, so that two demos can be compared: what must be the same is in it, and ids and times
are not. Numbers are written as the shortest text that reads back to the same bits."""

import hashlib
import json


def _numbers(metrics):
    return {metric["name"]: metric.get("value", 0.0) for metric in metrics or []}


def _version(version):
    verdict = version.get("verdict", {})
    return {
        "version": int(version["version"]),
        "weights": version.get("weights_digest"),
        "initial_weights": version.get("initial_weights_digest"),
        "spec": version.get("spec_digest"),
        "recipe": version.get("recipe_digest"),
        "commit": version.get("code", {}).get("commit"),
        "seed": version.get("seed"),
        "warm_start": version.get("warm_start_version"),
        "inputs": [{"name": item["name"], "dataset": item["dataset_digest"], "holdout": item.get("holdout", [])}
                   for item in version.get("inputs", [])],
        "metrics": _numbers(version.get("metrics")),
        "passed": verdict.get("passed", False),
        "against": verdict.get("champion_version"),
        "gates": [{"name": gate["gate"]["name"], "passed": gate.get("passed", False),
                   "numbers": _numbers(gate.get("numbers"))} for gate in verdict.get("gates", [])],
    }


def _entry(entry):
    profile = entry.get("profile", {})
    return {
        "uri": entry["entry"]["uri"],
        "sha256": entry["entry"]["sha256"],
        "state": entry["state"],
        "rows": profile.get("rows"),
        "champion": profile.get("champion_version"),
        "scores": _numbers(profile.get("champion_metrics")),
    }


def canonical(api, pipeline, input_name, model):
    versions, aliases = api.versions(model)
    entries = api.entries(pipeline, input_name)
    content = {
        "versions": [_version(version) for version in versions],
        "aliases": aliases,
        "entries": sorted((_entry(entry) for entry in entries), key=lambda entry: (entry["uri"], entry["sha256"])),
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

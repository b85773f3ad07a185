"""The demo's Git repository: made from configs/flights/repository, with commits whose ids are the same in every demo."""

import os
import pathlib
import re
import shutil
import subprocess


class Repository:
    def __init__(self, path, template):
        self.path = pathlib.Path(path)
        shutil.copytree(template, self.path)
        self._commits = 0
        self._git("init", "--quiet", "--initial-branch=main")
        self.commit("The first recipe")

    def _git(self, *arguments):
        # Neither the user's settings nor the machine's, and times of our own: the ids must not depend on them.
        when = f"2001-01-01T{self._commits:02}:00:00Z"
        environment = os.environ | {
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A researcher", "GIT_AUTHOR_EMAIL": "researcher@localhost", "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_NAME": "A researcher", "GIT_COMMITTER_EMAIL": "researcher@localhost",
            "GIT_COMMITTER_DATE": when,
        }
        done = subprocess.run(["git", "-C", str(self.path), *arguments], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise RuntimeError(f"git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    @property
    def recipe(self):
        return (self.path / "recipe.yaml").read_text()

    def commit(self, subject, recipe=None):
        """Commits everything, with another recipe where one is given; returns the commit's id."""
        if recipe is not None:
            (self.path / "recipe.yaml").write_text(recipe)
        self._git("add", "--all")
        self._git("commit", "--quiet", "-m", subject)
        self._commits += 1
        return self._git("rev-parse", "HEAD")


def with_learning_rate(recipe, factor):
    """The recipe with its learning rate multiplied, and both rates."""
    found = re.search(r"(?m)^(\s*learning_rate:\s*)([0-9.eE+-]+)", recipe)
    before = float(found.group(2))
    after = before * factor
    return recipe[:found.start(2)] + f"{after:g}" + recipe[found.end(2):], before, after


def with_features(recipe, features):
    """The recipe with more features behind those it has, each a line of YAML."""
    label = re.search(r"(?m)^\s*label:", recipe)
    first = re.search(r"(?m)^\s*features:[^\n]*\n(\s*)- ", recipe)
    lines = "".join(f"{first.group(1)}- {feature}\n" for feature in features)
    return recipe[:label.start()] + lines + recipe[label.start():]


def with_epochs(recipe, epochs):
    """The recipe with as many passes over the data."""
    changed, count = re.subn(r"(?m)^(\s*epochs:\s*)\d+", rf"\g<1>{epochs}", recipe)
    if count != 1:
        raise ValueError("the recipe has no epochs to change")
    return changed

"""Declared packages are installed at their pins."""

import tomllib
from importlib.metadata import version

from ethical_personas.paths import ROOT


def test_declared_packages_are_installed_at_their_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for wanted in project["dependencies"] + project["optional-dependencies"]["dev"]:
        name, pin = wanted.split("==")
        assert version(name).split("+")[0] == pin, name

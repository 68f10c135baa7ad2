"""Package sets whose packages no earlier test can have built."""

import shutil
import uuid
from pathlib import Path

# Thirty packages that build instantly and depend on each other, so that images share paths.
THIRTY_PACKAGES = """
{ system, ... }:
let
  package = n: derivation {
    name = "faulty-SALT-p${toString n}"; inherit system;
    builder = "/bin/sh";
    below = if n > 3 then [ (package (n / 2)) (package (n / 3)) ] else [ ];
    args = [ "-c" "PATH=/bin:/usr/bin; mkdir -p $out/bin; echo \\"$below\\" > $out/below; i=0; while [ $i -lt ${toString (n * 200)} ]; do echo p${toString n} $i $i; i=$((i+1)); done > $out/numbers; echo '#!/bin/sh' > $out/bin/p${toString n}; chmod +x $out/bin/p${toString n}" ];
  };
in builtins.listToAttrs (builtins.genList (n: { name = "p${toString n}"; value = package n; }) 30)
"""


def write_package_set(directory: Path, text: str) -> Path:
    """Makes `directory` a package set: `text`, with SALT replaced by a unique text."""
    directory.mkdir()
    (directory / "default.nix").write_text(text.replace("SALT", uuid.uuid4().hex))
    return directory


def copy_with_new_slow_packages(package_set: Path, directory: Path) -> Path:
    """A copy of conftest.py's package set with unbuilt slow packages."""
    shutil.copytree(package_set, directory)
    file = directory / "test-packages.nix"
    text = file.read_text()
    assert 'pname = "slow-s' in text
    file.write_text(text.replace('pname = "slow-s', f'pname = "slow-{uuid.uuid4().hex}-s'))
    return directory

"""A registry with its web page and a small, quick package set with a build that waits for a file."""

from contextlib import contextmanager
from pathlib import Path

from conftest import running, temporary_directory
from registry import ROOT, Registry

SET = """
{ system, ... }:
let
  package = name: version: { bytes ? 1000, needs ? [ ], script ? "", meta ? { } }:
    (derivation {
      name = "${name}-${version}";
      inherit system;
      builder = "/bin/sh";
      args = [ "-c" ''
        set -e
        export PATH=/bin:/usr/bin
        mkdir -p $out/bin $out/share/${name}
        printf '#!/bin/sh\\\\necho ${name}\\\\n' > $out/bin/${name}
        chmod +x $out/bin/${name}
        seq 1 99999999 | head -c ${toString bytes} > $out/share/${name}/data
        echo "${toString needs}" > $out/share/${name}/needs
        ${script}
      '' ];
    }) // { pname = name; inherit version; meta = { mainProgram = name; } // meta; };
  license = id: { spdxId = id; };
  zlib = package "zlib" "1.3" { bytes = 1500000; meta = { description = "Lossless compression"; license = license "Zlib"; }; };
  openssl = package "openssl" "3.0.15" { bytes = 6500000; meta = { description = "TLS and cryptography"; license = license "Apache-2.0"; }; };
  pcre2 = package "pcre2" "10.42" { bytes = 1200000; };
in
{
  inherit zlib openssl;
  curl = package "curl" "8.7.1" { bytes = 3200000; needs = [ zlib openssl ]; meta = {
    description = "Command line tool for transferring files with URL syntax"; homepage = "https://curl.se/"; license = license "curl"; }; };
  libcurl = package "libcurl" "8.7.1" { bytes = 900000; needs = [ openssl ]; };
  curlie = package "curlie" "1.7.2" { bytes = 4100000; meta.description = "Frontend to curl that adds the ease of use of httpie"; };
  git = package "git" "2.44.0" { bytes = 21000000; needs = [ zlib pcre2 openssl ]; meta = {
    description = "Distributed version control system"; license = [ (license "GPL-2.0-only") (license "LGPL-2.1-or-later") ]; }; };
  jq = package "jq" "1.7.1" { bytes = 1100000; meta.description = "Command-line JSON processor"; };
  bashInteractive = package "bash" "5.2" { bytes = 1600000; };
  coreutils = package "coreutils" "9.5" { bytes = 1800000; };
  moreutils = package "moreutils" "0.69" { bytes = 300000; };
  nano = package "nano" "8.0" { bytes = 2400000; };
  python3Packages = { recurseForDerivations = true; requests = package "requests" "2.31" { }; rich = package "rich" "13.7" { }; };
  secretTool = package "secret-tool" "1" { };
  _1password = package "onepassword" "1" { };
  "name+" = package "name-plus" "1" { };
  broken = throw "this one is broken: <b>on purpose</b>";
  failing = package "failing" "1" { script = "echo 'a line of the log'; echo 'this is <i>the</i> reason'; exit 1"; };
  # Builds until the file GATE exists, for at most two minutes.
  gated = package "gated" "1" { script = ''
    echo "waiting for the gate"
    for i in $(seq 1200); do [ -e GATE ] && break; sleep 0.1; done
    [ -e GATE ]
    echo "through the gate"
  ''; };
}
"""


class Site(Registry):
    server = f"include {ROOT}/nginx/nixery-web.conf;"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def gate(self) -> Path:
        return self.dir / "gate"

    def open_gate(self):
        self.gate.touch()


@contextmanager
def web_site(**settings: str):
    with temporary_directory() as directory:
        packages = directory / "set"
        packages.mkdir()
        with running(Site(directory, {"NIXERY_PKGS_PATH": str(packages), **settings})) as site:
            # The gate's path is in the derivation, so each site has an unbuilt gated package.
            (packages / "default.nix").write_text(SET.replace("GATE", str(site.gate)))
            site.start_nginx()
            site.start_worker()
            yield site

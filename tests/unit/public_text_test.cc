#include "text/public_text.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "temporary_directory.h"

using namespace nixery::text;
using nixery::test::TemporaryDirectory;

TEST_CASE("public text: a hidden directory's name replaces its path, but not a path that only begins alike") {
  hide_directories({{"/srv/nix", "<packages>"},
                    {"/var/lib/nixery/state", "<state>"},
                    {"/var/lib/nixery/state/sources/", "<sources>"},
                    {"/", "<root>"},
                    {"", "<none>"}});
  CHECK(public_text("in /srv/nix/pkgs/a.nix:47: no") == "in <packages>/pkgs/a.nix:47: no");
  CHECK(public_text("'/srv/nix'") == "'<packages>'");
  CHECK(public_text("see /srv/nix.") == "see <packages>.");
  CHECK(public_text("/srv/nixpkgs/a.nix and /srv/nix.d/a.nix") == "/srv/nixpkgs/a.nix and /srv/nix.d/a.nix");
  CHECK(public_text("/var/lib/nixery/state/sources/x and /var/lib/nixery/state/logs") ==
        "<sources>/x and <state>/logs");
  CHECK(public_text("\x1b[1m/srv/nix\x1b[0m") == "<packages>");
  hide_directories({});
  CHECK(public_text("/srv/nix") == "/srv/nix");
}

TEST_CASE("public text: a directory behind a symbolic link is hidden under both paths") {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() / "real");
  std::filesystem::create_directory_symlink("real", directory.path() / "link");
  hide_directories({{directory.path() / "link", "<packages>"}});
  CHECK(public_text((directory.path() / "link/a.nix").string()) == "<packages>/a.nix");
  CHECK(public_text((directory.path() / "real/a.nix").string()) == "<packages>/a.nix");
  hide_directories({});
}

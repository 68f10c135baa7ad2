#include "doctor/systemd_unit.h"

#include <doctest/doctest.h>

#include "os/file.h"
#include "temporary_directory.h"

using namespace nixery::doctor;
using nixery::test::TemporaryDirectory;

namespace {

constexpr const char* shipped = R"([Unit]
Description=Nixery
[Service]
ExecStart=/usr/bin/nixery serve
EnvironmentFile=-/etc/nixery/nixery.env
User=nixery
StateDirectory=nixery
RuntimeDirectory=nixery
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
[Install]
User=nobody
)";

}  // namespace

TEST_CASE("a unit's files give the worker's user and writable paths") {
  const ServiceUnit unit = parse_unit({shipped});
  CHECK(unit.user == "nixery");
  CHECK(unit.settings == std::vector<fs::path>{"/etc/nixery/nixery.env"});
  CHECK(write_barrier(unit, "/var/lib/nixery/tree") == "");
  CHECK(write_barrier(unit, "/var/lib/nixery") == "");
  CHECK(write_barrier(unit, "/var/lib/nixery-2/tree") == "ProtectSystem=strict");
  CHECK(write_barrier(unit, "/srv/nixery/tree") == "ProtectSystem=strict");
  CHECK(write_barrier(unit, "/home/nixery/tree") == "ProtectHome=yes");
  CHECK(write_barrier(unit, "/tmp/tree") == "PrivateTmp=yes");
}

TEST_CASE("drop-ins add to a unit, and an empty value resets a list") {
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nReadWritePaths=-/srv/nixery \"/mnt/two words\"\n"}),
                      "/srv/nixery/tree") == "");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nReadWritePaths=-/srv/nixery \"/mnt/two words\"\n"}),
                      "/mnt/two words/state") == "");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nReadWritePaths=/srv/a \\\n  /srv/b\n"}), "/srv/b") == "");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nReadWritePaths=/srv/a\n", "[Service]\nReadWritePaths=\n"}),
                      "/srv/a") == "ProtectSystem=strict");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nProtectSystem=full\n"}), "/srv/a") == "");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nProtectSystem=full\n"}), "/usr/local/a") ==
        "ProtectSystem=full");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nProtectSystem=no\n"}), "/usr/local/a") == "");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nReadOnlyPaths=/var/lib/nixery/tree\n"}),
                      "/var/lib/nixery/tree/blobs") == "ReadOnlyPaths=");
  CHECK(write_barrier(parse_unit({shipped, "[Service]\nBindPaths=/mnt/disk:/srv/tree:rbind\n"}), "/srv/tree") == "");
  CHECK(parse_unit({shipped, "[Service]\nUser=other\n# User=no\n"}).user == "other");
  CHECK(write_barrier(parse_unit({""}), "/usr/x") == "");
}

TEST_CASE("a unit is found with the drop-ins of all directories, and /etc takes precedence") {
  const TemporaryDirectory directory;
  const auto write = [&](const fs::path& file, const std::string& text) {
    nixery::os::make_directories((directory.path() / file).parent_path());
    nixery::os::write_file(directory.path() / file, text, false);
  };
  CHECK_FALSE(find_unit("nixery.service", directory.path()));
  write("lib/systemd/system/nixery.service", shipped);
  write("lib/systemd/system/nixery.service.d/10.conf", "[Service]\nUser=a\nReadWritePaths=/srv/a\n");
  write("etc/systemd/system/nixery.service.d/10.conf", "[Service]\nReadWritePaths=/srv/b\n");
  write("etc/systemd/system/nixery.service.d/note.txt", "[Service]\nUser=c\n");
  const auto unit = find_unit("nixery.service", directory.path());
  REQUIRE(unit);
  CHECK(unit->user == "nixery");
  CHECK(write_barrier(*unit, "/srv/b/tree") == "");
  CHECK(write_barrier(*unit, "/srv/a/tree") == "ProtectSystem=strict");
}

TEST_CASE("a command that starts units names those that this machine has") {
  const TemporaryDirectory directory;
  CHECK(restart_command({"nixery.socket", "nixery.service"}, directory.path()) == "");
  nixery::os::make_directories(directory.path() / "lib/systemd/system");
  nixery::os::write_file(directory.path() / "lib/systemd/system/nixery.service", shipped, false);
  CHECK(restart_command({"nixery.socket", "nixery.service"}, directory.path()) == "systemctl restart nixery.service");
}

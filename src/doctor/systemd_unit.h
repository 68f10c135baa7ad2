// The unit by which systemd runs the worker, as its files say it, so far as it bears on what the worker may write.
// systemd itself is not asked: it need not run where one looks.
#pragma once

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nixery::doctor {

namespace fs = std::filesystem;

struct ServiceUnit {
  std::string user;                   // User=; empty: root
  std::vector<fs::path> settings;     // EnvironmentFile=
  std::string protect_system = "no";  // "no", "yes", "full", "strict"
  std::string protect_home = "no";    // "no", "yes", "read-only", "tmpfs"
  bool private_tmp = false;
  std::vector<fs::path> writable;   // ReadWritePaths=, BindPaths=, StateDirectory= and its like
  std::vector<fs::path> read_only;  // ReadOnlyPaths=, InaccessiblePaths=
};

// A unit's file and its drop-ins, in the order in which systemd reads them (systemd.exec(5)). Pure; never fails.
ServiceUnit parse_unit(const std::vector<std::string>& files);

// "nixery.service", where this machine has it: the first file of that name in systemd's directories below `root`, with
// the drop-ins of all of them.
std::optional<ServiceUnit> find_unit(const std::string& name, const fs::path& root = "/");

// A command that starts those of the units that this machine has, or starts them again; empty if it has none.
std::string restart_command(std::initializer_list<const char*> units, const fs::path& root = "/");

// Why the unit lets its process write nothing below `path`, regardless of the files' modes: "ProtectSystem=strict";
// empty if it does.
std::string write_barrier(const ServiceUnit& unit, const fs::path& path);

}  // namespace nixery::doctor

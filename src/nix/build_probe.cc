#include "nix/build_probe.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "error.h"
#include "json/json.h"
#include "nix/error_message.h"
#include "nix/inherited_modes.h"
#include "nix/installation.h"
#include "nix/log_line.h"
#include "nix/nix.h"
#include "os/file.h"
#include "os/process.h"
#include "store/store_path.h"

namespace nixery::nix {

namespace {

constexpr const char* expression = R"(
  let
    probe = derivation {
      name = "nixery-build-probe";
      system = builtins.currentSystem;
      builder = "builtin:buildenv";
      derivations = "";
      manifest = "/nixery-build-probe";
      allowSubstitutes = false;
    };
  in { derivation = probe.drvPath; output = probe.outPath; })";

// With less, Nix's database cannot grow by a page.
constexpr std::uint64_t least_free = 1u << 20;  // bytes

// One process of Nix's, and what it said.
class NixProcess {
 public:
  NixProcess(std::vector<std::string> words, const ProbeSettings& settings, const std::stop_token& stop)
      : limit_(settings.limit) {
    os::Command command;
    command.argv = std::move(words);
    command.env = settings.environment;
    command.env["NIX_PATH"] = "";
    command.env["LC_ALL"] = "C";
    command.limit = settings.limit;
    command.stop = stop;
    command.on_error_line = [this](std::string_view line) { hear(read_log_line(line)); };
    result = os::run(command);
  }

  // Empty: it ended well; nullopt: it says nothing about Nix.
  std::optional<std::string> trouble() const {
    if (result.ok()) return "";
    if (result.end == os::ProcessResult::End::stopped) return std::nullopt;
    if (result.end == os::ProcessResult::End::timed_out) {
      if (waits_) return std::nullopt;
      return fmt::format("a build of nothing has not ended within {} s", limit_.count());
    }
    if (!said_.empty()) return said_;
    const std::string said = error_message(result.error_tail);
    return said.empty() ? fmt::format("nix {}", result.describe()) : said;
  }

  // The derivation, or what was built of it, was collected meanwhile.
  bool was_collected() const {
    return !result.ok() && (lacks_derivation(said_) || said_.find("are not valid, so checking is not") != said_.npos);
  }

  os::ProcessResult result;

 private:
  void hear(const LogLine& line) {
    if (line.kind == LogLine::Kind::error) said_ = error_message(line.text);
    // For a build user, a lock, a machine.
    waits_ = waits_ || line.text.starts_with("waiting for ");
  }

  const std::chrono::seconds limit_;
  std::string said_;
  bool waits_ = false;
};

// Empty where it cannot be asked.
std::string configuration_of_nix(const ProbeSettings& settings, const std::stop_token& stop) {
  try {
    // Unstable by name, but there since 2.4.
    const NixProcess nix({"nix", "--extra-experimental-features", "nix-command", "show-config", "--json"}, settings,
                         stop);
    return nix.result.ok() ? nix.result.output : "";
  } catch (const Error&) {
    return {};  // no program `nix`
  }
}

bool builds_nothing_here(std::string_view configuration) {
  if (configuration.empty()) return false;
  const auto document = json::parse(configuration, "nix show-config");
  const json::Value* setting = json::find(document, "max-jobs");
  return setting && json::integer_at(*setting, "value") == 0;
}

std::string space_trouble() {
  for (const fs::path& directory : {fs::path(store::store_dir), state_directory() / "db"}) {
    struct statvfs space {};
    if (statvfs(directory.c_str(), &space) != 0) continue;
    if (std::uint64_t{space.f_bavail} * space.f_frsize < least_free)
      return fmt::format("No space left on device: {} is full", directory.string());
    if (space.f_files > 0 && space.f_favail == 0)
      return fmt::format("No space left on device: {} has no inodes left", directory.string());
  }
  return {};
}

std::string modes_trouble(std::string_view configuration) {
  const fs::path directory = directory_that_forbids_modes(build_places(), configuration);
  if (directory.empty()) return {};
  return fmt::format(
      "{} has the setgid bit, which the directories of builds inherit, and nix's syscall filter refuses every chmod of "
      "these: take the bit away (chmod g-s), or set filter-syscalls = false",
      directory.string());
}

}  // namespace

std::optional<std::string> probe_build(const ProbeSettings& settings, const std::stop_token& stop) {
  if (std::string trouble = space_trouble(); !trouble.empty()) return trouble;
  const std::string configuration = configuration_of_nix(settings, stop);
  const bool builds = !settings.substitute_only && !builds_nothing_here(configuration);
  for (int attempt = 0; attempt < 3; ++attempt) {
    const NixProcess evaluated(
        {"nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "--expr", expression}, settings, stop);
    if (auto trouble = evaluated.trouble(); trouble != "" || !builds) return trouble;
    const auto answer = json::parse(evaluated.result.output, "the output of nix-instantiate");
    os::make_directories(settings.root.parent_path());
    std::vector<std::string> words = {"nix-store",    "--realise",
                                      "--log-format", "internal-json",
                                      "--add-root",   settings.root.string(),
                                      "--indirect",   json::string_or(answer, "derivation", "")};
    std::error_code absent;
    if (attempt == 0 && fs::exists(json::string_or(answer, "output", ""), absent)) words.emplace_back("--check");
    const NixProcess built(std::move(words), settings, stop);
    if (built.was_collected()) continue;
    if (auto trouble = built.trouble(); trouble != "") return trouble;
    return modes_trouble(configuration);
  }
  return std::nullopt;
}

std::string BuildProbe::trouble(std::chrono::steady_clock::duration age, const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const auto oldest = Clock::now() - age;
  const bool waits = running_ && (!trouble_ || began_ < oldest);
  if (waits) ended_.wait(lock, stop, [this] { return !running_; });
  // What another could not find out a moment ago is not tried again at once.
  if (waits || (trouble_ && began_ >= oldest)) return trouble_.value_or("");
  running_ = true;
  lock.unlock();
  const auto began = Clock::now();
  std::optional<std::string> result;
  try {
    result = run_(stop);
  } catch (const std::exception& error) {
    result = error.what();
  }
  lock.lock();
  running_ = false;
  ended_.notify_all();
  if (result) {
    trouble_ = std::move(result);
    began_ = began;
  } else if (!trouble_) {
    trouble_.emplace();
  }
  return trouble_.value_or("");
}

void BuildProbe::distrust() {
  const std::lock_guard lock(mutex_);
  began_ = {};
}

std::optional<std::string> BuildProbe::last() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

}  // namespace nixery::nix

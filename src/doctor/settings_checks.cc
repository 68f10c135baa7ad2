#include "doctor/settings_checks.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "attestations/signing_key.h"
#include "error.h"
#include "nix/download.h"
#include "nix/source.h"
#include "os/file.h"
#include "pipeline/declared_set.h"
#include "plan/popularity.h"
#include "text/url.h"

namespace nixery::doctor {

namespace {

// In place of a resolve.nix that cannot be read, so that the rest can be.
constexpr const char* stand_in = "/dev/null";

// 2024-01-01: before any version of this program.
constexpr std::chrono::sys_seconds first_day{std::chrono::seconds{1'704'067'200}};
constexpr std::chrono::minutes tolerated{5};

// The variable that a message of load_config() is about.
std::string variable_of(std::string_view message) {
  return std::string(message.substr(0, message.find_first_of(": ")));
}

std::string value_of(const LoadedConfig& loaded, std::string_view name) {
  for (const Setting& setting : loaded.settings)
    if (setting.name == name) return setting.value;
  return {};
}

// Whether others than the owner may read it.
bool is_open(const fs::path& file) {
  struct stat status {};
  return stat(file.c_str(), &status) == 0 && (status.st_mode & 077) != 0;
}

Finding judge_secret(const std::string& name, const fs::path& file, const std::string& what) {
  if (is_open(file))
    return warning(name, fmt::format("{} {}, and others may read it, too", what, file.string()),
                   fmt::format("chmod 600 {}", file.string()), fmt::format("chmod 600 {}", shell_word(file)));
  return ok(name, fmt::format("{} {}", what, file.string()));
}

// The worker does not start without it (command/registry_parts).
Finding check_popularity(const std::string& place) {
  const bool http = place.starts_with("http://") || place.starts_with("https://");
  const std::string shown = text::without_credentials(place);
  try {
    std::optional<std::string> text;
    if (http) {
      const http_client::Response answer = nix::get(place);
      if (answer.status == 200) text = answer.body;
    } else {
      text = os::read_if_exists(place.starts_with("file://") ? place.substr(7) : place);
    }
    if (!text) throw Error(Failure::bad_config, fmt::format("there is nothing at {}", shown));
    plan::parse_popularity(*text, shown);
    return ok("popularity", fmt::format("packages are counted in {}", shown));
  } catch (const Error& error) {
    return failure(
        "popularity", fmt::format("NIX_POPULARITY_URL: {}", error.what()),
        "make it with `nixery popularity >FILE`, or leave NIX_POPULARITY_URL unset: without it a worker starts, "
        "with one that is wrong it does not");
  }
}

}  // namespace

ReadSettings read_settings(const Environment& environment,
                           const std::function<std::vector<std::string>(const std::vector<Setting>&)>& strange) {
  ReadSettings read;
  std::map<std::string, const char*> replaced;
  for (;;) {
    try {
      read.loaded = load_config([&](const char* name) {
        const auto found = replaced.find(name);
        return found == replaced.end() ? environment(name) : found->second;
      });
      break;
    } catch (const Error& error) {
      const std::string name = variable_of(error.what());
      const bool resolve_nix = name == "NIXERY_RESOLVE_NIX";
      if (replaced.contains(name) || (!environment(name.c_str()) && !resolve_nix)) throw;
      replaced[name] = resolve_nix ? stand_in : nullptr;
      if (resolve_nix)
        read.findings.push_back(failure("resolve.nix", error.what(),
                                        "install all of nixery, or let NIXERY_RESOLVE_NIX name nix/resolve.nix of its "
                                        "source, readable by the worker"));
      else
        read.findings.push_back(failure("settings", error.what(),
                                        fmt::format("correct {} where it is set (for the Debian package, "
                                                    "/etc/nixery/nixery.env), and restart the worker",
                                                    name)));
    }
  }
  if (!replaced.contains("NIXERY_RESOLVE_NIX"))
    read.findings.push_back(ok("resolve.nix", read.loaded.config.nix.resolve_nix.string()));
  std::size_t given = 0;
  for (const Setting& setting : read.loaded.settings) given += setting.from_environment ? 1 : 0;
  if (replaced.size() == replaced.count("NIXERY_RESOLVE_NIX"))
    read.findings.push_back(ok("settings", fmt::format("{} are set and valid", given)));
  for (const std::string& problem : strange(read.loaded.settings))
    read.findings.push_back(
        warning("settings.unknown", problem, "`nixery config` lists what there is; correct the name, or remove it"));
  return read;
}

std::vector<Finding> check_files(const Setup& setup) {
  const Config& config = setup.config();
  std::vector<Finding> findings;
  if (!config.signing_key.empty()) {
    try {
      attestations::SigningKey::from_file(config.signing_key);
      findings.push_back(judge_secret("signing-key", config.signing_key, "images are signed with"));
    } catch (const Error& error) {
      findings.push_back(failure("signing-key", error.what(),
                                 fmt::format("make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 "
                                             "-out FILE, and let {} alone read it",
                                             setup.worker.name)));
    }
  }
  if (const std::string token = value_of(setup.settings, "NIXERY_PKGS_TOKEN_FILE"); !token.empty()) {
    if (os::may(os::current_user(), token, {.read = true}))
      findings.push_back(judge_secret("token-file", token, "the package source's token is in"));
    else
      findings.push_back(
          failure("token-file", fmt::format("{} may not read {}", setup.worker.name, token),
                  fmt::format("chown {} {} && chmod 600 {}", setup.worker.name, token, token),
                  fmt::format("chown {} {} && chmod 600 {}", setup.worker.name, shell_word(token), shell_word(token))));
  }
  if (!os::may(os::current_user(), config.nix.resolve_nix, {.read = true}))
    findings.push_back(failure("resolve.nix",
                               fmt::format("{} may not read {}", setup.worker.name, config.nix.resolve_nix.string()),
                               fmt::format("chmod a+r {}, and a+x its directories", config.nix.resolve_nix.string()),
                               fmt::format("chmod a+r {}", shell_word(config.nix.resolve_nix))));
  if (!config.use_log.empty()) {
    std::error_code absent;
    if (os::may(os::current_user(), config.use_log, {.read = true}))
      findings.push_back(ok("use-log", fmt::format("nginx logs pulls in {}", config.use_log.string())));
    else if (fs::exists(config.use_log, absent))
      findings.push_back(warning(
          "use-log",
          fmt::format("{} may not read {}: images seem never to be pulled", setup.worker.name, config.use_log.string()),
          "let the worker be in the log's group (Debian: adm)"));
    else
      findings.push_back(
          warning("use-log",
                  fmt::format("there is no {} that {} can see: images seem never to be pulled", config.use_log.string(),
                              setup.worker.name),
                  "include nixery-use.conf in http {}, with that file in its access_log, and reload nginx; "
                  "the first pull writes it"));
  }
  if (!config.popularity.empty()) findings.push_back(check_popularity(config.popularity));
  if (!config.images.empty()) {
    const auto declarations = pipeline::DeclaredSet(config.images).current();
    const auto& problems = declarations->problems();
    if (problems.empty())
      findings.push_back(
          ok("images", fmt::format("{} declared images in {}", declarations->images().size(), config.images.string())));
    else
      findings.push_back(failure("images", fmt::format("{}", fmt::join(problems, "; ")),
                                 "correct these files; `nixery images` checks them"));
  }
  return findings;
}

Finding check_clock(const Setup& setup) {
  const auto now = std::chrono::system_clock::now();
  const auto seen = fmt::format("it is {:%FT%TZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(now)));
  const char* const fix =
      "set it (timedatectl set-ntp true): certificates and the age of images depend on it; after a long jump see "
      "`nixery "
      "gc --dry-run`";
  if (now < first_day) return failure("clock", seen + ", which cannot be", fix);
  const fs::path &tree = setup.config().tree, &state = setup.config().state;
  for (const fs::path& written : {tree, tree / "incoming", tree / "tags", state, state / "uses"}) {
    const auto status = os::status_of(written);
    if (status && status->modified > now + tolerated)
      return warning("clock", fmt::format("{}, but {} was changed later than that", seen, written.string()), fix);
  }
  return ok("clock", seen);
}

}  // namespace nixery::doctor

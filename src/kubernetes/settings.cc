#include "kubernetes/settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <random>

#include "error.h"

namespace nixery::kubernetes {

namespace {

[[noreturn]] void refuse(const char* name, std::string_view value, std::string_view wanted) {
  throw Error(Failure::bad_config, fmt::format("{}: '{}' is not valid; {}", name, value, wanted));
}

std::string text(const Environment& environment, const char* name, const char* fallback = "") {
  const char* given = environment(name);
  return given && *given ? given : fallback;
}

unsigned number(const Environment& environment, const char* name, unsigned fallback, unsigned least, unsigned most) {
  const std::string given = text(environment, name);
  if (given.empty()) return fallback;
  unsigned value = 0;
  const auto [end, code] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (code != std::errc{} || end != given.data() + given.size() || value < least || value > most)
    refuse(name, given, fmt::format("give a number from {} to {}", least, most));
  return value;
}

// A DNS label, as the names of namespaces are.
std::string label(const Environment& environment, const char* name) {
  std::string given = text(environment, name);
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (given.size() > 63 || !std::all_of(given.begin(), given.end(), is_letter)) refuse(name, given, "give a namespace");
  return given;
}

// Of this process alone, also where several of them are on one host.
std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return fmt::format("{}_{:08x}", name, std::random_device{}());
}

}  // namespace

Settings load_settings(const Environment& environment) {
  Settings settings;
  const std::string level = text(environment, "NIXERY_LOG_LEVEL", "info");
  const auto known_level = log::level_of(level);
  if (!known_level) refuse("NIXERY_LOG_LEVEL", level, "give error, warning, info or debug");
  settings.log_level = *known_level;

  const std::string images = text(environment, "NIXERY_IMAGES");
  if (!images.starts_with('/')) refuse("NIXERY_IMAGES", images, "give the absolute path of a directory");
  settings.images = std::filesystem::path(images).lexically_normal();

  settings.registry = text(environment, "NIXERY_CONTROLLER_REGISTRY", "http://127.0.0.1:8080");
  while (settings.registry.ends_with('/')) settings.registry.pop_back();
  if (!settings.registry.starts_with("http://") && !settings.registry.starts_with("https://"))
    refuse("NIXERY_CONTROLLER_REGISTRY", settings.registry, "give a URL, such as http://127.0.0.1:8080");
  settings.host = text(environment, "NIXERY_CONTROLLER_HOST");
  if (settings.host.find_first_of("/ \t@") != std::string::npos)
    refuse("NIXERY_CONTROLLER_HOST", settings.host, "give a host, perhaps with a port, such as registry.example.org");

  settings.only_namespace = label(environment, "NIXERY_CONTROLLER_NAMESPACE");
  settings.short_names = label(environment, "NIXERY_CONTROLLER_SHORT_NAMES");
  settings.quota = number(environment, "NIXERY_CONTROLLER_QUOTA", 0, 0, 100'000);
  settings.builds = number(environment, "NIXERY_CONTROLLER_BUILDS", 4, 1, 64);
  settings.resync = std::chrono::seconds(number(environment, "NIXERY_CONTROLLER_RESYNC", 300, 1, 86'400));
  settings.settle = std::chrono::milliseconds(number(environment, "NIXERY_CONTROLLER_SETTLE_MS", 1500, 0, 60'000));

  const std::string lease = text(environment, "NIXERY_CONTROLLER_LEASE");
  if (const auto slash = lease.find('/'); !lease.empty()) {
    if (slash == 0 || slash == lease.npos || slash + 1 == lease.size() || lease.find('/', slash + 1) != lease.npos)
      refuse("NIXERY_CONTROLLER_LEASE", lease, "give namespace/name");
    settings.lease_namespace = lease.substr(0, slash);
    settings.lease_name = lease.substr(slash + 1);
  }
  settings.identity = text(environment, "NIXERY_CONTROLLER_IDENTITY");
  if (settings.identity.empty()) settings.identity = text(environment, "POD_NAME");
  if (settings.identity.empty()) settings.identity = host_name();
  return settings;
}

}  // namespace nixery::kubernetes

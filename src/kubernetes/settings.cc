#include "kubernetes/settings.h"

#include <fmt/format.h>
#include <unistd.h>

#include <random>

#include "error.h"
#include "text/ascii.h"
#include "text/number.h"

namespace nixery::kubernetes {

namespace {

[[noreturn]] void refuse(const char* name, std::string_view value, std::string_view wanted) {
  throw Error(Failure::bad_config, fmt::format("{}: '{}' is not valid; {}", name, value, wanted));
}

unsigned number(const char* name, std::string_view text, unsigned least, unsigned most) {
  const auto value = text::number<unsigned>(text);
  if (!value || *value < least || *value > most)
    refuse(name, text, fmt::format("give a number from {} to {}", least, most));
  return *value;
}

// A DNS label, such as the name of a namespace.
std::string label(const char* name, std::string_view text) {
  const auto is_letter = [](char c) { return text::is_lower(c) || text::is_digit(c) || c == '-'; };
  if (text.size() > 63 || !text::all(text, is_letter)) refuse(name, text, "give a namespace");
  return std::string(text);
}

// Unique to this process, even if several run on one host.
std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return fmt::format("{}_{:08x}", name, std::random_device{}());
}

struct Rule {
  const char* name;
  const char* fallback;
  const char* meaning;
  void (*apply)(ControllerSettings&, std::string_view);
};

constexpr Rule rules[] = {
    {"NIXERY_IMAGES", "", "directory, the same one as the registry's",
     [](ControllerSettings& s, std::string_view v) {
       if (!v.starts_with('/')) refuse("NIXERY_IMAGES", v, "give the absolute path of a directory");
       s.images = std::filesystem::path(v).lexically_normal();
     }},
    {"NIXERY_CONTROLLER_REGISTRY", "http://127.0.0.1:8080", "URL of the registry that builds the images",
     [](ControllerSettings& s, std::string_view v) {
       while (v.ends_with('/')) v.remove_suffix(1);
       if (!v.starts_with("http://") && !v.starts_with("https://"))
         refuse("NIXERY_CONTROLLER_REGISTRY", v, "give a URL, such as http://127.0.0.1:8080");
       s.registry = v;
     }},
    {"NIXERY_CONTROLLER_HOST", "", "host as clients write it before an image's name; used in status.reference",
     [](ControllerSettings& s, std::string_view v) {
       if (v.find_first_of("/ \t@") != v.npos)
         refuse("NIXERY_CONTROLLER_HOST", v, "give a host, perhaps with a port, such as registry.example.org");
       s.host = v;
     }},
    {"NIXERY_CONTROLLER_NAMESPACE", "", "the only namespace that is followed; empty: all",
     [](ControllerSettings& s, std::string_view v) { s.only_namespace = label("NIXERY_CONTROLLER_NAMESPACE", v); }},
    {"NIXERY_CONTROLLER_SHORT_NAMES", "", "a namespace whose images are also served under their name alone",
     [](ControllerSettings& s, std::string_view v) { s.short_names = label("NIXERY_CONTROLLER_SHORT_NAMES", v); }},
    {"NIXERY_CONTROLLER_QUOTA", "0", "limit of images in a namespace; 0: none",
     [](ControllerSettings& s, std::string_view v) { s.quota = number("NIXERY_CONTROLLER_QUOTA", v, 0, 100'000); }},
    {"NIXERY_CONTROLLER_BUILDS", "4", "images that are pulled at the same time",
     [](ControllerSettings& s, std::string_view v) { s.builds = number("NIXERY_CONTROLLER_BUILDS", v, 1, 64); }},
    {"NIXERY_CONTROLLER_RESYNC", "300", "seconds between pulls of an image that is built",
     [](ControllerSettings& s, std::string_view v) {
       s.resync = std::chrono::seconds(number("NIXERY_CONTROLLER_RESYNC", v, 1, 86'400));
     }},
    {"NIXERY_CONTROLLER_SETTLE_MS", "1500", "milliseconds from writing a file to the first pull",
     [](ControllerSettings& s, std::string_view v) {
       s.settle = std::chrono::milliseconds(number("NIXERY_CONTROLLER_SETTLE_MS", v, 0, 60'000));
     }},
    {"NIXERY_CONTROLLER_LEASE", "", "namespace/name of a Lease, so that only one of several controllers writes status",
     [](ControllerSettings& s, std::string_view v) {
       if (v.empty()) return;
       const auto slash = v.find('/');
       if (slash == 0 || slash == v.npos || slash + 1 == v.size() || v.find('/', slash + 1) != v.npos)
         refuse("NIXERY_CONTROLLER_LEASE", v, "give namespace/name");
       s.lease_namespace = v.substr(0, slash);
       s.lease_name = v.substr(slash + 1);
     }},
    {"NIXERY_CONTROLLER_IDENTITY", "", "its name in the Lease",
     [](ControllerSettings& s, std::string_view v) { s.identity = v; }},
    {"NIXERY_LOG_LEVEL", "info", "log level: error, warning, info or debug",
     [](ControllerSettings& s, std::string_view v) {
       const auto level = log::level_of(v);
       if (!level) refuse("NIXERY_LOG_LEVEL", v, "give error, warning, info or debug");
       s.log_level = *level;
     }},
};

}  // namespace

ControllerSettings load_settings(const Environment& environment) {
  const auto given = [&](const char* name) -> std::string_view {
    const char* value = environment(name);
    return value ? value : "";
  };
  ControllerSettings settings;
  for (const Rule& rule : rules) {
    const std::string_view value = given(rule.name);
    rule.apply(settings, value.empty() ? rule.fallback : value);
  }
  if (settings.identity.empty()) settings.identity = given("POD_NAME");
  if (settings.identity.empty()) settings.identity = host_name();
  return settings;
}

std::vector<SettingDescription> described_settings() {
  std::vector<SettingDescription> described;
  for (const Rule& rule : rules) described.push_back({rule.name, rule.fallback, true, rule.meaning});
  for (SettingDescription& setting : described)
    if (setting.name == "NIXERY_CONTROLLER_IDENTITY")
      setting.default_value = "POD_NAME, or the host's name and a number", setting.literal = false;
  return described;
}

}  // namespace nixery::kubernetes

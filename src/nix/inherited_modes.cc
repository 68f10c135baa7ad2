#include "nix/inherited_modes.h"

#include <sys/stat.h>

#include <cstdlib>

#include "error.h"
#include "json/json.h"
#include "nix/installation.h"
#include "store/store_path.h"

namespace nixery::nix {

namespace {

bool has_setgid(const fs::path& directory) {
  struct stat status {};
  return !directory.empty() && stat(directory.c_str(), &status) == 0 && (status.st_mode & S_ISGID) != 0;
}

class Settings {
 public:
  explicit Settings(std::string_view configuration) {
    try {
      if (!configuration.empty()) document_ = json::parse(configuration, "nix show-config");
    } catch (const Error&) {
      document_.SetNull();
    }
  }

  bool is(const char* name, bool fallback) const {
    const json::Value* value = value_of(name);
    if (value && value->IsBool()) return value->GetBool();
    return value && value->IsString() ? value->GetString() == std::string_view("true") : fallback;
  }

  std::string text(const char* name) const {
    const json::Value* value = value_of(name);
    return value && value->IsString() ? value->GetString() : "";
  }

 private:
  const json::Value* value_of(const char* name) const {
    const json::Value* setting = json::find(document_, name);
    return setting ? json::find(*setting, "value") : nullptr;
  }

  json::Document document_;
};

}  // namespace

BuildPlaces build_places() {
  const char* temporary = std::getenv("TMPDIR");
  return {store::store_dir, state_directory() / "builds",
          !store_access().daemon_socket.empty() ? fs::path()
          : temporary && *temporary             ? fs::path(temporary)
                                                : fs::path("/tmp")};
}

fs::path directory_that_forbids_modes(const BuildPlaces& places, std::string_view configuration) {
  const Settings settings(configuration);
  if (!settings.is("filter-syscalls", true)) return {};
  // Within the sandbox the store is a directory of its own, made without the bit.
  if (!settings.is("sandbox", true) && has_setgid(places.store)) return places.store;
  std::error_code absent;
  const std::string given = settings.text("build-dir");
  const fs::path builds = !given.empty()                      ? fs::path(given)
                          : fs::exists(places.builds, absent) ? places.builds
                                                              : places.temporary;
  return has_setgid(builds) ? builds : fs::path();
}

}  // namespace nixery::nix

#include "error.h"

namespace nixery {

bool Error::transient() const {
  switch (failure_) {
    case Failure::too_busy:
    case Failure::still_building:
    case Failure::unavailable:
    case Failure::storage:
    case Failure::corrupt: return true;
    default: return false;
  }
}

bool is_refusal(Failure failure) {
  switch (failure) {
    case Failure::bad_name:
    case Failure::bad_tag:
    case Failure::bad_declaration:
    case Failure::unknown_tag:
    case Failure::unknown_package:
    case Failure::not_a_package:
    case Failure::unsupported_platform:
    case Failure::unfree:
    case Failure::insecure:
    case Failure::broken:
    case Failure::removed:
    case Failure::forbidden:
    case Failure::not_cached: return true;
    default: return false;
  }
}

const char* name_of(Failure failure) {
  switch (failure) {
    case Failure::bad_name: return "bad_name";
    case Failure::bad_tag: return "bad_tag";
    case Failure::bad_declaration: return "bad_declaration";
    case Failure::bad_digest: return "bad_digest";
    case Failure::bad_query: return "bad_query";
    case Failure::unknown_tag: return "unknown_tag";
    case Failure::unknown_package: return "unknown_package";
    case Failure::not_a_package: return "not_a_package";
    case Failure::unsupported_platform: return "unsupported_platform";
    case Failure::unfree: return "unfree";
    case Failure::insecure: return "insecure";
    case Failure::broken: return "broken";
    case Failure::removed: return "removed";
    case Failure::forbidden: return "forbidden";
    case Failure::evaluation_failed: return "evaluation_failed";
    case Failure::not_cached: return "not_cached";
    case Failure::build_failed: return "build_failed";
    case Failure::package_too_large: return "package_too_large";
    case Failure::timed_out: return "timed_out";
    case Failure::too_busy: return "too_busy";
    case Failure::still_building: return "still_building";
    case Failure::unknown_manifest: return "unknown_manifest";
    case Failure::unknown_blob: return "unknown_blob";
    case Failure::unknown_repository: return "unknown_repository";
    case Failure::unknown_route: return "unknown_route";
    case Failure::switched_off: return "switched_off";
    case Failure::unsupported_method: return "unsupported_method";
    case Failure::bad_config: return "bad_config";
    case Failure::unavailable: return "unavailable";
    case Failure::storage: return "storage";
    case Failure::corrupt: return "corrupt";
  }
  return "unknown";
}

}  // namespace nixery

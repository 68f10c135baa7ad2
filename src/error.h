// Every failure that a user or a client can meet, as a type.
//
// Pipeline code throws Error; only main() and the request boundary (http/answer) catch it. Parsers of untrusted text
// return std::optional or throw Error{bad_…}; see their headers.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace nixery {

enum class Failure {
  bad_name,              // the image name does not match the grammar, or names no package
  bad_tag,               // the tag does not match the grammar
  bad_declaration,       // a declared image's file or object has a mistake; the message names it
  bad_digest,            // malformed, or of an unsupported algorithm
  bad_query,             // a query parameter is malformed
  unknown_tag,           // well-formed, but not a revision of the configured source
  unknown_package,       // no such attribute in the package set
  not_a_package,         // the attribute exists, but is not a derivation
  unsupported_platform,  // by the package set, or no builder supports it
  unfree,                // nixpkgs refuses its license, and the operator has not allowed it
  insecure,              // nixpkgs knows of vulnerabilities, and the operator has not allowed it
  broken,                // nixpkgs marks it as broken, and the operator has not allowed it
  removed,               // the package set says that it was removed or renamed
  forbidden,             // the operator refuses it: a commit off the allowed branches, a blocked attribute
  evaluation_failed,     // nix could not evaluate the package
  not_cached,            // no binary cache has it, and the operator lets nothing be compiled
  build_failed,          // nix could not realise it
  package_too_large,     // built, but it exceeds the limits of files or sizes
  timed_out,             // evaluation or build exceeded its time limit
  too_busy,              // a queue is full: try again later
  still_building,        // not finished within one request: try again later
  unknown_manifest,      // no manifest of that digest or tag
  unknown_blob,          // no blob of that digest, and no recipe for it
  unknown_repository,    // no image of that name has been built
  unknown_route,         // not a path of the registry
  switched_off,          // disabled by the operator
  unsupported_method,    // pushes, deletes and the like
  bad_config,            // a setting is wrong; the message names it
  unavailable,           // network, source or nix daemon failed; transient
  storage,               // the tree or the state directory cannot be written or read
  corrupt,               // bytes do not match their digest: the operator has to repair the store or the tree
};
inline constexpr std::size_t failure_count = static_cast<std::size_t>(Failure::corrupt) + 1;  // corrupt is the last one

class Error : public std::runtime_error {
 public:
  // `message` is one sentence for the user who pulls; `detail` is for the operator (the end of a log, stderr).
  Error(Failure failure, const std::string& message, std::string detail = {})
      : std::runtime_error(message), failure_(failure), detail_(std::move(detail)) {}

  Failure failure() const { return failure_; }
  const std::string& detail() const { return detail_; }

  // True for failures that may succeed on retry: they are answered with 429 or 503 and never cached.
  bool transient() const;

 private:
  Failure failure_;
  std::string detail_;
};

// Whether the request itself is at fault, because it names something that does not exist or is forbidden. Such failures
// are logged at level debug and recorded in no file.
bool is_refusal(Failure failure);

// "unknown_package": the name that logs, metrics and --json use.
const char* name_of(Failure failure);

}  // namespace nixery

// What can go wrong, as types: every failure that a person or a client can meet.
//
// Pipeline code throws Error; only main() and the request boundary (http/answer) catch it. Parsers of untrusted
// text return std::optional or throw Error{bad_…}, as their headers say.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

namespace nixery {

enum class Failure {
  bad_name,              // the image name is outside the grammar, or names nothing sensible
  bad_tag,               // the tag is outside the grammar
  bad_digest,            // malformed, or of an algorithm that we do not serve
  bad_query,             // a parameter of the address is malformed
  unknown_tag,           // well-formed, but no revision of the configured source
  unknown_package,       // no such attribute in the package set
  not_a_package,         // the attribute exists, but is no derivation
  unsupported_platform,  // the package set says so, or no builder supports it
  unfree,                // nixpkgs refuses its license, and the operator has not allowed it
  insecure,              // nixpkgs knows of vulnerabilities, and the operator has not allowed it
  broken,                // nixpkgs marks it as broken, and the operator has not allowed it
  removed,               // the package set says that it was removed or renamed
  forbidden,             // the operator refuses it: a commit off the allowed branches, a blocked attribute
  evaluation_failed,     // nix could not evaluate the package
  build_failed,          // nix could not realise it
  package_too_large,     // it was built, but has more or larger files than an image can be made of
  timed_out,             // evaluation or build went over its limit
  too_busy,              // a queue is full: try again later
  still_building,        // not finished within one request: try again later
  unknown_manifest,      // no manifest of that digest or tag
  unknown_blob,          // no blob of that digest, and no recipe for it
  unknown_repository,    // nothing of that name has been built
  unknown_route,         // not an address of the registry
  switched_off,          // the operator has turned this address off
  unsupported_method,    // pushes, deletes and the like
  bad_config,            // a setting is wrong; the message names it
  unavailable,           // the outside failed us: network, source, nix daemon; may pass
  storage,               // the tree or the state directory cannot be written or read
  corrupt,               // bytes do not match their digest: the operator has to repair the store or the tree
};
inline constexpr std::size_t failure_count = static_cast<std::size_t>(Failure::corrupt) + 1;  // it is the last one

class Error : public std::runtime_error {
 public:
  // `message` is one sentence for the person who pulls; `detail` is what helps the operator (a log's end, stderr).
  Error(Failure failure, const std::string& message, std::string detail = {})
      : std::runtime_error(message), failure_(failure), detail_(std::move(detail)) {}

  Failure failure() const { return failure_; }
  const std::string& detail() const { return detail_; }

  // True for what may succeed later with nothing changed: such failures are answered 429/503 and never remembered.
  bool transient() const;

 private:
  Failure failure_;
  std::string detail_;
};

// Whether the request itself is at fault: it names what does not exist or may not be had. Such failures are logged at
// level debug and leave no file.
bool is_refusal(Failure failure);

// "unknown_package": the name that logs, metrics and --json use.
const char* name_of(Failure failure);

}  // namespace nixery

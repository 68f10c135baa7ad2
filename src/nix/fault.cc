#include "nix/fault.h"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace nixery::nix {

namespace {

bool has(std::string_view words, std::string_view text) {
  return words.find(text) != words.npos;
}

bool has_any(std::string_view words, std::initializer_list<std::string_view> texts) {
  return std::any_of(texts.begin(), texts.end(), [=](std::string_view text) { return has(words, text); });
}

// As strerror(3), SQLite and Nix say it.
bool of_disk(std::string_view words) {
  return has_any(words, {"No space left on device", "database or disk is full", "disk I/O error", "Disk quota exceeded",
                         "Input/output error", "Read-only file system"}) ||
         (has(words, "remounting ") && has(words, " writable"));
}

bool of_store(std::string_view words) {
  return has_any(words, {"database disk image is malformed", "attempt to write a readonly database",
                         "unable to open database file", "cannot open SQLite database", "executing SQLite", "big-lock",
                         "/nix/var/nix/temproots", "/nix/var/nix/db"});
}

bool of_daemon(std::string_view words) {
  return has_any(words, {"cannot connect to", "cannot open connection", "unexpected end-of-file", "unexpected EOF",
                         "disconnected unexpectedly", "Connection reset", "Connection refused", "Broken pipe",
                         "interrupted by the user", "database is busy"});
}

}  // namespace

std::optional<NixFault> fault_in(std::string_view words) {
  if (of_disk(words)) return NixFault::disk;
  if (has_any(words, {"in 'build-users-group' does not exist", "the build users group",
                      "build users are currently in use", "' in the group '"}))
    return NixFault::build_users;
  if (has_any(words,
              {"Too many open files", "Cannot allocate memory", "Resource temporarily unavailable", "std::bad_alloc"}))
    return NixFault::limits;
  // The last: what sets a build's process up ended before it said that it is ready.
  if (has_any(words, {"required for sandboxing", "private mount namespace", "unexpected EOF reading a line"}))
    return NixFault::sandbox;
  if (has(words, "/gcroots/")) return NixFault::gc_roots;
  if (of_store(words)) return NixFault::store;
  if (of_daemon(words)) return NixFault::daemon;
  return build_fault_in(words);
}

std::optional<NixFault> build_fault_in(std::string_view words) {
  if (has(words, "caused by lack of free disk space")) return NixFault::disk;
  if (has_any(words, {"unable to download", "Temporary failure", "Could not resolve"})) return NixFault::network;
  // A builder that was killed fell to an operator, or to a kernel that ran out of memory.
  if (has_any(words, {"failed due to signal 9", "failed due to signal 15"})) return NixFault::killed;
  return std::nullopt;
}

std::optional<NixFault> evaluation_fault_in(std::string_view words) {
  if (of_disk(words)) return NixFault::disk;
  if (has(words, "Too many open files")) return NixFault::limits;
  if (of_store(words)) return NixFault::store;
  if (of_daemon(words)) return NixFault::daemon;
  return std::nullopt;
}

bool is_failed_dependency(std::string_view words) {
  // "1 dependencies of derivation '…' failed to build", "Cannot build '…'. Reason: 1 dependency failed."
  return (has(words, "dependencies of derivation") && has(words, "failed to build")) ||
         has_any(words, {"dependency failed", "dependencies failed"}) ||
         // "build of '…', '…' failed": the last sentence if several derivations were asked for
         (has(words, "build of '/") && words.ends_with("' failed"));
}

bool is_disabled_build(std::string_view words) {
  return has_any(words, {"unable to start any build; either increase", "Unable to start any build; either increase",
                         "local builds are disabled"});
}

bool is_build_failure(std::string_view words) {
  return has_any(words, {"builder for '", "builder failed", "Cannot build '",
                         "hash mismatch in fixed-output derivation", "failed to produce output",
                         "may not be deterministic", "is not allowed to refer", "cycle detected"}) ||
         is_failed_dependency(words);
}

}  // namespace nixery::nix

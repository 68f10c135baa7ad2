// Package sources: a package set is pinned to a revision before any evaluation.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "os/lock.h"

namespace nixery::nix {

namespace fs = std::filesystem;

struct SourceSettings {
  enum class Kind { path, git, channel };
  Kind kind = Kind::channel;
  std::string location;                       // directory, repository URL, or channel name
  std::vector<std::string> allowed_branches;  // globs for git; exact names for a channel, which always is one
  // For channels: {channel}, {revision} and {branch} are replaced.
  std::string channel_url;
  std::string archive_url;
  std::string compare_url;
  std::string credentials = {};     // "user:secret" for a git repository; may be empty
  std::size_t kept_revisions = 20;  // on disk, but for those in use; at least 1
  bool any_channel = true;  // other channels are served though allowed_branches, which says whose commits, lacks them
};

// The revision that a tag refers to now.
struct Revision {
  std::string id;       // git commit; for a path "sha256:<hex>" of its contents, or the name of its store path
  std::string url;      // of the source, without credentials; empty for a path
  bool moving = false;  // the tag can move to another revision
};

// A package set on disk that nobody changes any more (but for a path source, which is the operator's own).
struct PinnedSource {
  fs::path directory;
  Revision revision;
  std::shared_ptr<const os::Lock> in_use = {};  // while it lives, the set is not removed
};

// Thread-safe, and safe between processes that share the state directory.
class Source {
 public:
  virtual ~Source() = default;

  // Fingerprint of the settings: the source and its allowed revisions. Tags made under another fingerprint may be
  // forbidden now or have another revision. Any text, without credentials.
  virtual std::string config_fingerprint() const = 0;

  // The revision of `tag`, without fetching it. Throws Error{unknown_tag}, Error{forbidden} for a commit or branch off
  // the allowed ones, Error{unavailable} where the origin cannot be asked, or `stop` is set by another thread while it
  // is.
  virtual Revision find(std::string_view tag, const std::stop_token& stop = {}) = 0;

  // Fetches the revision to disk, once. Throws Error{unavailable}, also for `stop`.
  virtual PinnedSource fetch(const Revision& revision, const std::stop_token& stop = {}) = 0;
};

// `directory` is where sources are kept (tree::LocalState::sources()).
std::unique_ptr<Source> make_source(const SourceSettings& settings, const fs::path& directory);

// '*' stands for any characters, '?' for one.
bool matches_glob(std::string_view text, std::string_view glob);

}  // namespace nixery::nix

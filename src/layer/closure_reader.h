// Reads the files of a closure as they will be found in the image: a symlink is followed only to store paths of the
// same closure. Where it leads elsewhere, to the host's /etc or to a store path that the image does not have, nothing
// is read: in the image it leads to something else, or to nothing.
//
// So what is read depends on the closure alone, and no package can make an image say what this host has. Opens regular
// files and directories only (store_files.h). Not thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>

#include "layer/store_files.h"
#include "store/closure.h"

namespace nixery::layer {

class ClosureReader {
 public:
  struct Limits {
    std::size_t entries = 500'000;                            // in all directories that are listed
    std::uint64_t file_size = 1 << 20;                        // bytes of a file that is read
    std::chrono::milliseconds time{std::chrono::minutes(5)};  // from the constructor on
  };
  static constexpr int max_links = 40;  // on the way to a file, as in Linux

  // Uses nothing of `closure` but its paths. `root` is where /nix/store lies. All functions throw
  // Error{package_too_large} and Error{timed_out} past the limits, Error{unavailable} once `stop` is requested, and
  // Error{storage} for what cannot be read.
  ClosureReader(const std::filesystem::path& root, const store::Closure& closure, std::stop_token stop = {})
      : ClosureReader(root, closure, std::move(stop), Limits{}) {}
  ClosureReader(const std::filesystem::path& root, const store::Closure& closure, std::stop_token stop, Limits limits);

  bool contains(const store::StorePath& path) const { return closure_.contains(std::string(path.base_name())); }

  // `path` is relative to the store, and no part of it is a symlink.
  struct Object {
    std::string path;
    FileKind kind;
  };

  // What `path`, relative to the store, leads to in the image; nullopt if that is nothing, or outside the closure.
  std::optional<Object> resolve(std::string_view path);

  // The same for a symlink whose own path has no other symlink.
  std::optional<Object> resolve_link(const std::string& link);

  // `directory` as resolve() gave it. Sorted.
  Listing list(const std::string& directory);

  // The regular file that `path` leads to; nullopt if there is none.
  std::optional<std::string> read(std::string_view path);

 private:
  std::optional<Object> walk(std::string from, std::string pending, int links);
  bool enter(std::string& directory, std::string_view name) const;
  void check() const;

  StoreFiles files_;
  std::unordered_set<std::string> closure_;  // base names
  const std::stop_token stop_;
  const Limits limits_;
  const std::chrono::steady_clock::time_point deadline_;
  std::size_t entries_ = 0;
};

}  // namespace nixery::layer

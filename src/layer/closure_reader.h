// Reads the files of a closure as in the image: symlinks are followed only to store paths of the same closure. Links to
// other files, such as the host's /etc, are not followed, because in the image they have another target or none.
//
// So the result depends on the closure only, and no package can put the host's files into an image. Opens only regular
// files and directories (store_files.h). Not thread-safe.
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

  // Uses only the paths of `closure`. `root` is the directory with /nix/store. All functions throw
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

  // Resolves `path`, relative to the store, as in the image; nullopt if it does not exist or is outside the closure.
  std::optional<Object> resolve(std::string_view path);

  // The same for a symlink whose own path has no other symlink.
  std::optional<Object> resolve_link(const std::string& link);

  // Lists a `directory` returned by resolve(). Sorted.
  Listing list(const std::string& directory);

  // Opens the regular file that `path` resolves to; nullopt if there is none.
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

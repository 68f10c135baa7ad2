// The declared-image files of NixImages: niximage.<namespace>.<name>.json, and, for names without a namespace,
// niximage..<name>.json. Other files of the directory are never touched.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "os/lock.h"

namespace nixery::kubernetes {

// Thread-safe, except that two threads must not write the same file. Of several processes with one directory, only one
// writes, because two that observe changes at different times would overwrite each other's files. The calls of the
// others do nothing.
class DeclaredFiles {
 public:
  // Makes the directory.
  explicit DeclaredFiles(std::filesystem::path directory);

  // Tries to become the writer of the directory; true if this process is. Not thread-safe.
  bool take();

  // True if the file was missing or had other contents. Throws Error{storage}, as do the other functions.
  bool write(std::string_view namespace_name, std::string_view name, std::string_view text);
  void remove(std::string_view namespace_name, std::string_view name);
  // Removes the controller's files for whose names `wanted` is false.
  void keep_only(const std::function<bool(const std::string& file)>& wanted);

  static std::string file_name(std::string_view namespace_name, std::string_view name);

 private:
  const std::filesystem::path directory_;
  std::optional<os::Lock> lock_;
  std::atomic<bool> ours_{false};
};

}  // namespace nixery::kubernetes

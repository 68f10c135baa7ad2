// The files of declared images that stand for NixImages: niximage.<namespace>.<name>.json, and, for names without a
// namespace, niximage..<name>.json. Other files of the directory are never touched.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "os/lock.h"

namespace nixery::kubernetes {

// Thread-safe, but for one file's being written by two threads. Of several processes with one directory, one writes:
// two that do not know of a change at the same time would undo each other's work. The others' calls do nothing.
class DeclaredFiles {
 public:
  // Makes the directory.
  explicit DeclaredFiles(std::filesystem::path directory);

  // Whether the directory is this process's to write, from now on if not before. For one thread.
  bool take();

  // True if the file was not there, or said something else. Throws Error{storage}, as the others.
  bool write(std::string_view namespace_name, std::string_view name, std::string_view text);
  void remove(std::string_view namespace_name, std::string_view name);
  // Removes the files of our kind of which `wanted`, given a file's name, is not true.
  void keep_only(const std::function<bool(const std::string& file)>& wanted);

  static std::string file_name(std::string_view namespace_name, std::string_view name);

 private:
  const std::filesystem::path directory_;
  std::optional<os::Lock> lock_;
  std::atomic<bool> ours_{false};
};

}  // namespace nixery::kubernetes

// Reads files of the Nix store without trusting them: a package's author controls its symlinks and file types.
//
// No symlink is ever followed (os/beneath.h), and only regular files and directories are opened. One directory stays
// open between calls, so that a walk takes one system call for most files. Not thread-safe.
//
// A path here is relative to the store: "<hash>-<name>" or "<hash>-<name>/bin/vi", without "." and "..". All functions
// throw Error{storage} with the path for unreadable files.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "os/fd.h"

namespace nixery::layer {

enum class FileKind : char { file, directory, symlink, other };

// The names in a directory, with their types. 6 bytes for each entry besides its name.
class Listing {
 public:
  struct Item {
    std::string_view name;  // as long as the listing lives and is not added to
    FileKind kind;
  };

  void add(std::string_view name, FileKind kind);
  void sort();  // bytewise by name
  std::size_t size() const { return offsets_.size(); }
  Item operator[](std::size_t i) const;
  std::size_t bytes() const { return bytes_.size() + offsets_.size() * sizeof offsets_[0]; }

 private:
  std::string bytes_;  // for each entry its kind, its name, NUL
  std::vector<std::uint32_t> offsets_;
};

class StoreFiles {
 public:
  // Bytes of Listing. About 1.5 million entries with names of 40 bytes; no package has as many in one directory.
  static constexpr std::size_t max_listing = 64 << 20;

  // `root` is the directory in which /nix/store lies: "/" unless a chroot store is used. A store that does not exist
  // has no files.
  explicit StoreFiles(const std::filesystem::path& root);

  // What `path` names, itself; nullopt if nothing does, or if one of its parents is a symlink or no directory.
  std::optional<FileKind> kind_of(const std::string& path);

  std::string link_target(const std::string& path);

  // Sorted. Throws Error{package_too_large} if it would take more than `limit` bytes, Error{corrupt} if `path` is no
  // directory: the caller has seen that it is one.
  Listing list(const std::string& path, std::size_t limit = max_listing);

  struct File {
    os::Fd fd;  // for reading
    struct stat info;
    // As much as there is, up to `size` bytes; none at the end. `path` is for the message.
    std::size_t read(char* to, std::size_t size, const StoreFiles& files, const std::string& path) const;
  };
  // Throws Error{corrupt} if `path` is no regular file, likewise.
  File open(const std::string& path);

  // The absolute path on this file system, for messages.
  std::string full_path(const std::string& path) const { return store_.string() + '/' + path; }

 private:
  // The open directory that `path` lies in, or -1 and errno.
  int parent_of(const std::string& path);

  std::filesystem::path store_;
  os::Fd store_fd_;
  std::string parent_path_;
  os::Fd parent_fd_;
};

// Throws Error{corrupt}: "<path> changed while it was being read".
[[noreturn]] void throw_changed(const std::string& path);

}  // namespace nixery::layer

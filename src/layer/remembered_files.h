// Files of a store path that a later one of the same contents may be linked to (walk.h). Not thread-safe.
//
// The remembered files decide which files become hard links, and so a layer's bytes: the limits are part of the format.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace nixery::layer {

class RememberedFiles {
 public:
  static constexpr std::uint32_t each_size = 16;      // files of one size
  static constexpr std::size_t max_paths = 32 << 20;  // bytes of all paths, with `overhead` for each
  static constexpr std::size_t overhead = 64;         // about what one takes beside its path

  struct File {
    dev_t device;
    ino_t inode;
    std::uint32_t path_at;
    std::uint32_t next;  // of the same size; `none` for the last
    bool executable;
  };
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  // The first of this size, or `none`.
  std::uint32_t first(std::uint64_t size) const {
    const auto found = by_size_.find(size);
    return found == by_size_.end() ? none : found->second.first;
  }
  const File& operator[](std::uint32_t file) const { return files_[file]; }
  std::string path_of(const File& file) const { return paths_.c_str() + file.path_at; }

  // Does nothing if a limit is reached.
  void add(const std::string& path, const struct stat& info, bool executable) {
    if (used_ >= max_paths) return;
    const auto index = static_cast<std::uint32_t>(files_.size());
    Chain& chain = by_size_.try_emplace(static_cast<std::uint64_t>(info.st_size), Chain{index, index, 0}).first->second;
    if (chain.count == each_size) return;
    files_.push_back({info.st_dev, info.st_ino, static_cast<std::uint32_t>(paths_.size()), none, executable});
    if (chain.count++ > 0) files_[std::exchange(chain.last, index)].next = index;
    paths_.append(path).push_back('\0');
    used_ += path.size() + overhead;
  }

  std::size_t size() const { return files_.size(); }

 private:
  struct Chain {
    std::uint32_t first, last, count;
  };
  std::vector<File> files_;
  std::string paths_;  // each ends with NUL
  std::unordered_map<std::uint64_t, Chain> by_size_;
  std::size_t used_ = 0;  // bytes, as max_paths counts them
};

}  // namespace nixery::layer

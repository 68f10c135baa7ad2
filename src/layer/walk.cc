#include "layer/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "error.h"
#include "layer/nar.h"
#include "layer/tar.h"
#include "os/fd.h"
#include "os/file.h"

namespace nixery::layer {

namespace {

constexpr std::uint64_t link_threshold = 16 << 10;  // bytes; below it, looking for twins costs more than it saves
constexpr std::size_t twins_tried = 16;             // files of one size that are compared before giving up

[[noreturn]] void throw_changed(const std::string& path) {
  throw Error(Failure::corrupt, fmt::format("{} changed while it was being read", path));
}

// As much as there is, up to `size` bytes.
std::size_t read_some(int fd, char* to, std::size_t size, const std::string& path) {
  for (;;) {
    const ssize_t n = read(fd, to, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) os::throw_errno("read", path);
  }
}

struct DirectoryEntry {
  std::string name;
  unsigned char type;
};

std::vector<DirectoryEntry> read_directory(const std::string& path) {
  struct Close {
    void operator()(DIR* dir) const { closedir(dir); }
  };
  const std::unique_ptr<DIR, Close> dir(opendir(path.c_str()));
  if (!dir) os::throw_errno("open", path);
  std::vector<DirectoryEntry> entries;
  for (errno = 0; const dirent* entry = readdir(dir.get()); errno = 0) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") entries.push_back({std::string(name), entry->d_type});
  }
  if (errno != 0) os::throw_errno("read", path);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return entries;
}

class Walker {
 public:
  Walker(Sink& sink, const std::filesystem::path& root, const store::StorePath& path)
      : sink_(sink), path_(root.string()) {
    while (path_.ends_with('/')) path_.pop_back();
    name_at_ = path_.size() + 1;
    path_ += path.str();
  }

  std::uint64_t walk() {
    visit(DT_UNKNOWN);
    return nar_.bytes();
  }

 private:
  struct File {
    std::string path;
    dev_t device;
    ino_t inode;
    bool executable;
  };

  std::string name() const { return path_.substr(name_at_); }

  // What path_ names, and all below it.
  void visit(unsigned char type) {
    if (type == DT_UNKNOWN) {
      struct stat info;
      if (lstat(path_.c_str(), &info) != 0) os::throw_errno("read", path_);
      type = static_cast<unsigned char>(IFTODT(info.st_mode));
    }
    switch (type) {
      case DT_DIR: return directory();
      case DT_REG: return file();
      case DT_LNK: return symlink();
      default: throw Error(Failure::storage, fmt::format("{} is no file, directory or symlink", path_));
    }
  }

  void directory() {
    nar_.directory();
    sink_.append(tar_header({Entry::Kind::directory, name(), 0555, {}, 0}));
    const std::size_t length = path_.size();
    for (const DirectoryEntry& entry : read_directory(path_)) {
      nar_.entry(entry.name.size());
      path_ += '/';
      path_ += entry.name;
      visit(entry.type);
      path_.resize(length);
    }
  }

  void symlink() {
    std::array<char, 4097> target;  // PATH_MAX bounds a target
    const ssize_t n = readlink(path_.c_str(), target.data(), target.size());
    if (n < 0) os::throw_errno("read link", path_);
    nar_.symlink(static_cast<std::uint64_t>(n));
    sink_.append(
        tar_header({Entry::Kind::symlink, name(), 0777, std::string(target.data(), static_cast<std::size_t>(n)), 0}));
  }

  void file() {
    os::Fd fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat info;
    if (!fd || fstat(fd.get(), &info) != 0) os::throw_errno("open", path_);
    if (!S_ISREG(info.st_mode)) throw_changed(path_);
    const auto size = static_cast<std::uint64_t>(info.st_size);
    const bool executable = (info.st_mode & S_IXUSR) != 0;
    const unsigned mode = executable ? 0555 : 0444;
    nar_.file(size, executable);

    if (size >= link_threshold) {
      if (const std::string* twin = find_twin(fd.get(), info, executable)) {
        sink_.append(tar_header({Entry::Kind::hard_link, name(), mode, twin->substr(name_at_), 0}));
        return;
      }
    }
    sink_.append(tar_header({Entry::Kind::file, name(), mode, {}, size}));
    for (std::uint64_t left = size; left > 0;) {
      const std::span<char> buffer = sink_.buffer();
      const std::size_t n = read_some(fd.get(), buffer.data(), std::min<std::uint64_t>(left, buffer.size()), path_);
      if (n == 0) throw_changed(path_);
      sink_.advance(n);
      left -= n;
    }
    sink_.append(tar_padding(size));
    struct stat after;
    if (fstat(fd.get(), &after) != 0) os::throw_errno("read", path_);
    if (after.st_size != info.st_size) throw_changed(path_);
  }

  // An earlier file of the same contents and mode, or nullptr; then this one is remembered for those to come.
  const std::string* find_twin(int fd, const struct stat& info, bool executable) {
    std::vector<File>& same_size = files_[static_cast<std::uint64_t>(info.st_size)];
    for (const File& file : same_size) {
      if (file.executable != executable) continue;
      if (file.device == info.st_dev && file.inode == info.st_ino) return &file.path;
      if (same_contents(fd, file.path)) return &file.path;
    }
    if (same_size.size() < twins_tried) same_size.push_back({path_, info.st_dev, info.st_ino, executable});
    return nullptr;
  }

  bool same_contents(int fd, const std::string& other_path) {
    const os::Fd other = os::open_for_reading(other_path);
    if (!left_) {
      left_ = std::make_unique<Block>();
      right_ = std::make_unique<Block>();
    }
    std::size_t want = 4096;  // what differs mostly does so at once
    for (off_t at = 0;;) {
      const ssize_t a = pread(fd, left_->data(), want, at);
      if (a < 0) os::throw_errno("read", path_);
      const ssize_t b = pread(other.get(), right_->data(), want, at);
      if (b < 0) os::throw_errno("read", other_path);
      if (a != b || !std::equal(left_->begin(), left_->begin() + a, right_->begin())) return false;
      if (a == 0) return true;
      at += a;
      want = left_->size();
    }
  }

  using Block = std::array<char, 64 << 10>;

  Sink& sink_;
  NarSize nar_;
  std::string path_;                                            // of what is being visited, on this file system
  std::size_t name_at_;                                         // where in it the name for the archive begins
  std::unordered_map<std::uint64_t, std::vector<File>> files_;  // by size: those that a later one may be linked to
  std::unique_ptr<Block> left_, right_;
};

}  // namespace

std::uint64_t append_store_path(Sink& sink, const std::filesystem::path& root, const store::StorePath& path) {
  return Walker(sink, root, path).walk();
}

}  // namespace nixery::layer

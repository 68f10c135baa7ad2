#include "layer/store_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "error.h"
#include "os/beneath.h"
#include "os/file.h"
#include "store/store_path.h"

namespace nixery::layer {

namespace {

constexpr int for_reading = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC;

FileKind kind_of_mode(mode_t mode) {
  if (S_ISREG(mode)) return FileKind::file;
  if (S_ISDIR(mode)) return FileKind::directory;
  return S_ISLNK(mode) ? FileKind::symlink : FileKind::other;
}

bool is_absence(int code) {
  return code == ENOENT || code == ENOTDIR || code == ELOOP || code == ENAMETOOLONG;
}

const char* last_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return path.c_str() + (slash == path.npos ? 0 : slash + 1);
}

}  // namespace

void throw_changed(const std::string& path) {
  throw Error(Failure::corrupt, fmt::format("{} changed while it was being read", path));
}

void Listing::add(std::string_view name, FileKind kind) {
  offsets_.push_back(static_cast<std::uint32_t>(bytes_.size()));
  bytes_ += static_cast<char>(kind);
  bytes_ += name;
  bytes_ += '\0';
}

void Listing::sort() {
  const auto name_at = [&](std::uint32_t offset) { return std::string_view(bytes_.data() + offset + 1); };
  std::sort(offsets_.begin(), offsets_.end(), [&](auto a, auto b) { return name_at(a) < name_at(b); });
}

Listing::Item Listing::operator[](std::size_t i) const {
  const char* at = bytes_.data() + offsets_[i];
  return {at + 1, static_cast<FileKind>(*at)};
}

StoreFiles::StoreFiles(const std::filesystem::path& root)
    : store_(root / store::store_dir.substr(1)), store_fd_(::open(store_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (!store_fd_ && errno != ENOENT) os::throw_errno("open", store_);
}

int StoreFiles::parent_of(const std::string& path) {
  if (!store_fd_) {
    errno = ENOENT;
    return -1;
  }
  const std::size_t slash = path.rfind('/');
  if (slash == path.npos) return store_fd_.get();
  const std::string_view parent(path.data(), slash);
  if (!parent_fd_ || parent != parent_path_) {
    parent_path_ = parent;
    parent_fd_ = os::open_beneath(store_fd_.get(), parent_path_, O_PATH | O_DIRECTORY);
  }
  return parent_fd_.get();
}

std::optional<FileKind> StoreFiles::kind_of(const std::string& path) {
  const int parent = parent_of(path);
  struct stat info;
  if (parent >= 0 && fstatat(parent, last_name(path), &info, AT_SYMLINK_NOFOLLOW) == 0)
    return kind_of_mode(info.st_mode);
  if (is_absence(errno)) return std::nullopt;
  os::throw_errno("read", full_path(path));
}

std::string StoreFiles::link_target(const std::string& path) {
  std::array<char, 4097> target;  // PATH_MAX bounds a target
  const int parent = parent_of(path);
  const ssize_t size = parent < 0 ? -1 : readlinkat(parent, last_name(path), target.data(), target.size());
  if (size < 0) os::throw_errno("read link", full_path(path));
  return {target.data(), static_cast<std::size_t>(size)};
}

Listing StoreFiles::list(const std::string& path, std::size_t limit) {
  struct Close {
    void operator()(DIR* dir) const { closedir(dir); }
  };
  const int parent = parent_of(path);
  os::Fd fd(parent < 0 ? -1 : openat(parent, last_name(path), for_reading | O_DIRECTORY));
  const std::unique_ptr<DIR, Close> dir(fd ? fdopendir(fd.get()) : nullptr);
  if (!dir && (errno == ENOTDIR || errno == ELOOP)) throw_changed(full_path(path));
  if (!dir) os::throw_errno("open", full_path(path));
  const int opened = fd.release();  // it is dir's now
  Listing listing;
  for (errno = 0; const dirent* entry = readdir(dir.get()); errno = 0) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    mode_t mode = DTTOIF(entry->d_type);
    if (entry->d_type == DT_UNKNOWN) {
      struct stat info;
      if (fstatat(opened, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        os::throw_errno("read", full_path(path) + '/' + entry->d_name);
      mode = info.st_mode;
    }
    listing.add(name, kind_of_mode(mode));
    if (listing.bytes() > limit)
      throw Error(Failure::package_too_large,
                  fmt::format("{} has more entries than an image can: their names take more than {} MiB",
                              full_path(path), max_listing >> 20));
  }
  if (errno != 0) os::throw_errno("read", full_path(path));
  listing.sort();
  return listing;
}

StoreFiles::File StoreFiles::open(const std::string& path) {
  const int parent = parent_of(path);
  File file{os::Fd(parent < 0 ? -1 : openat(parent, last_name(path), for_reading)), {}};
  if ((!file.fd && errno != ELOOP && errno != ENXIO) || (file.fd && fstat(file.fd.get(), &file.info) != 0))
    os::throw_errno("open", full_path(path));
  if (!file.fd || !S_ISREG(file.info.st_mode)) throw_changed(full_path(path));  // ELOOP: a symlink; ENXIO: a socket
  return file;
}

std::size_t StoreFiles::File::read(char* to, std::size_t size, const StoreFiles& files, const std::string& path) const {
  for (;;) {
    const ssize_t n = ::read(fd.get(), to, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) os::throw_errno("read", files.full_path(path));
  }
}

}  // namespace nixery::layer

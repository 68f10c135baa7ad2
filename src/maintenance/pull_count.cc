#include "maintenance/pull_count.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "image/digest.h"
#include "os/fd.h"
#include "os/file.h"
#include "text/lines.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

struct Place {
  std::uint64_t inode, size;
};

std::optional<Place> place_of(const fs::path& file) {
  struct stat info;
  if (stat(file.c_str(), &info) == 0) return Place{info.st_ino, static_cast<std::uint64_t>(info.st_size)};
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  os::throw_errno("look at", file);
}

bool is_pull(std::string_view line) {
  const auto space = line.find(' ');
  return space != line.npos && image::Digest::parse(line.substr(space + 1)).has_value();
}

}  // namespace

PullCount::PullCount(fs::path log) : log_(std::move(log)) {
  if (const auto place = place_of(log_)) {
    inode_ = place->inode;
    offset_ = place->size;
  }
}

std::uint64_t PullCount::look() {
  const auto place = place_of(log_);
  if (!place) return count_;
  if (inode_ && place->inode != *inode_) {
    const fs::path rotated = log_.string() + ".1";
    if (const auto before = place_of(rotated); before && before->inode == *inode_) take_lines(rotated);
    offset_ = 0;
  } else if (place->size < offset_) {
    offset_ = 0;  // truncated by copytruncate
  }
  inode_ = place->inode;
  take_lines(log_);
  return count_;
}

void PullCount::take_lines(const fs::path& file) {
  const os::Fd fd = os::open_for_reading(file);
  std::string pending(256u << 10, '\0');
  for (;;) {
    const ssize_t n = pread(fd.get(), pending.data(), pending.size(), static_cast<off_t>(offset_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) os::throw_errno("read", file);
    std::string_view text(pending.data(), static_cast<std::size_t>(n));
    const std::size_t whole = text.rfind('\n') + 1;  // 0 where there is none
    if (whole == 0) {
      if (text.size() < pending.size()) return;
      offset_ += text.size();  // not a valid line
      continue;
    }
    offset_ += whole;
    text::for_each_line(text.substr(0, whole), [this](std::string_view line) {
      if (is_pull(line)) ++count_;
    });
  }
}

}  // namespace nixery::maintenance

#include "nix/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "error.h"
#include "os/fd.h"
#include "os/file.h"
#include "os/path.h"

namespace nixery::nix {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t longest_name = 4096;  // of a member

[[noreturn]] void refuse(std::string_view member, std::string_view why) {
  throw Error(Failure::unavailable, fmt::format("its member '{}' {}", member, why));
}

[[noreturn]] void fail(archive* in) {
  const char* reason = archive_error_string(in);
  throw Error(Failure::unavailable, reason ? reason : "it is damaged");
}

// In the C locale libarchive has no multibyte form of a UTF-8 name that is not ASCII, and no UTF-8 form of raw bytes.
using Text = const char*(archive_entry*);
std::optional<std::string> text_of(archive_entry* entry, Text* bytes, Text* utf8) {
  const char* text = bytes(entry);
  if (!text) text = utf8(entry);
  return text ? std::optional<std::string>(text) : std::nullopt;
}

// "./source-1/a//" has the parts of "source-1/a"; an empty result stands for the outermost directory.
std::string without_first_component(const std::string& name) {
  std::string_view rest = name;
  while (rest.starts_with("./")) rest.remove_prefix(2);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest == ".") rest = {};
  if (rest.empty() && !name.starts_with('/')) return {};
  if (name.size() > longest_name) refuse(name.substr(0, 80), "has too long a name");
  if (name.starts_with('/') || !os::stays_below(rest)) refuse(name, "has a name that leads out of the archive");
  const auto slash = rest.find('/');
  return slash == rest.npos ? std::string() : std::string(rest.substr(slash + 1));
}

// A directory that is written by descriptor, one component at a time, so that no link on the way is followed.
class Directory {
 public:
  explicit Directory(const std::filesystem::path& path)
      : path_(path), root_(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (!root_) os::throw_errno("open", path);
  }

  // How many directories were made that no member named itself.
  std::uint64_t made() const { return made_; }

  struct Place {
    int parent;
    std::string name;
  };
  // Makes the directories on the way, if they are missing. Good until the next call.
  Place place(const std::string& member) {
    const auto slash = member.rfind('/');
    const std::string parent = slash == member.npos ? "" : member.substr(0, slash);
    if (parent != current_name_) {
      current_name_ = "?";
      current_ = enter(parent, member);
      current_name_ = parent;
    }
    return {current_ ? current_.get() : root_.get(), member.substr(parent.empty() ? 0 : slash + 1)};
  }

  [[noreturn]] void fail(const std::string& member) const {
    if (errno == EEXIST) refuse(member, "is there twice");
    if (errno == ENAMETOOLONG || errno == ENOENT) refuse(member, "has a name or a target that no file can have");
    os::throw_errno("write", path_ / member);
  }

 private:
  os::Fd enter(const std::string& directory, const std::string& member) {
    os::Fd at;
    for (std::size_t start = 0; start < directory.size();) {
      const std::size_t end = std::min(directory.find('/', start), directory.size());
      const std::string part = directory.substr(start, end - start);
      const int parent = at ? at.get() : root_.get();
      if (mkdirat(parent, part.c_str(), 0755) == 0) {
        ++made_;
      } else if (errno != EEXIST) {
        fail(member);
      }
      os::Fd next(openat(parent, part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next && (errno == ELOOP || errno == ENOTDIR)) refuse(member, "leads through what is no directory");
      if (!next) fail(member);
      at = std::move(next);
      start = end + 1;
    }
    return at;
  }

  std::filesystem::path path_;
  os::Fd root_, current_;
  std::string current_name_;  // of current_; empty for the root
  std::uint64_t made_ = 0;
};

class Unpacker {
 public:
  Unpacker(archive* in, const std::filesystem::path& directory, const UnpackLimits& limits, const std::stop_token& stop)
      : in_(in), directory_(directory), limits_(limits), stop_(stop), deadline_(Clock::now() + limits.time) {}

  void add(archive_entry* entry) {
    check();
    if (++entries_ + directory_.made() > limits_.entries)
      throw Error(Failure::unavailable, fmt::format("it has more than {} members", limits_.entries));
    const auto name = text_of(entry, archive_entry_pathname, archive_entry_pathname_utf8);
    if (!name) throw Error(Failure::unavailable, "it has a member without a name that can be read");
    const std::string member = without_first_component(*name);
    if (member.empty()) {
      if (archive_entry_filetype(entry) != AE_IFDIR) refuse(*name, "is not below a first directory");
      return;
    }
    const auto link = text_of(entry, archive_entry_hardlink, archive_entry_hardlink_utf8);
    if (link) return add_hard_link(member, *link);
    switch (archive_entry_filetype(entry)) {
      case AE_IFDIR: return add_directory(member);
      case AE_IFREG: return add_file(member, (archive_entry_perm(entry) & 0111) != 0);
      case AE_IFLNK: return add_symlink(member, text_of(entry, archive_entry_symlink, archive_entry_symlink_utf8));
      default: refuse(member, "is neither a file, a directory nor a link");
    }
  }

 private:
  void check() const {
    if (stop_.stop_requested()) throw Error(Failure::unavailable, "stopped");
    if (Clock::now() >= deadline_)
      throw Error(Failure::unavailable, fmt::format("it takes longer than {} s", limits_.time.count()));
  }

  void add_directory(const std::string& member) {
    const auto [parent, name] = directory_.place(member);
    if (mkdirat(parent, name.c_str(), 0755) == 0) return;
    struct stat status;
    if (errno != EEXIST || fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(status.st_mode))
      directory_.fail(member);
  }

  void add_file(const std::string& member, bool executable) {
    const auto [parent, name] = directory_.place(member);
    const os::Fd file(
        openat(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, executable ? 0755 : 0644));
    if (!file) directory_.fail(member);
    char buffer[65536];
    for (la_ssize_t n; (n = archive_read_data(in_, buffer, sizeof buffer)) != 0;) {
      if (n < 0) nix::fail(in_);
      check();
      bytes_ += static_cast<std::uint64_t>(n);
      if (bytes_ > limits_.bytes)
        throw Error(Failure::unavailable, fmt::format("it is larger than {} bytes", limits_.bytes));
      os::write_all(file.get(), {buffer, static_cast<std::size_t>(n)}, member);
    }
  }

  void add_symlink(const std::string& member, const std::optional<std::string>& target) {
    if (!target) refuse(member, "is a link without a target that can be read");
    const auto [parent, name] = directory_.place(member);
    if (symlinkat(target->c_str(), parent, name.c_str()) != 0) directory_.fail(member);
  }

  void add_hard_link(const std::string& member, const std::string& target) {
    const std::string source = without_first_component(target);
    if (source.empty()) refuse(member, "is a hard link to no file of the archive");
    const auto from = directory_.place(source);
    const os::Fd file(openat(from.parent, from.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status;
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
      refuse(member, "is a hard link to no file of the archive");
    const os::Fd parent(openat(from.parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const auto to = directory_.place(member);
    if (!parent || linkat(parent.get(), from.name.c_str(), to.parent, to.name.c_str(), 0) != 0) directory_.fail(member);
  }

  archive* in_;
  Directory directory_;
  const UnpackLimits& limits_;
  const std::stop_token& stop_;
  const Clock::time_point deadline_;
  std::uint64_t bytes_ = 0, entries_ = 0;
};

}  // namespace

void unpack(const std::filesystem::path& file, const std::filesystem::path& directory, const UnpackLimits& limits,
            const std::stop_token& stop) {
  const std::unique_ptr<archive, decltype(&archive_read_free)> in(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(in.get());
  // Not all filters: some would start a program.
  archive_read_support_filter_gzip(in.get());
  archive_read_support_filter_bzip2(in.get());
  archive_read_support_filter_xz(in.get());
  archive_read_support_filter_zstd(in.get());
  if (archive_read_open_filename(in.get(), file.c_str(), 256 << 10) != ARCHIVE_OK) fail(in.get());
  Unpacker unpacker(in.get(), directory, limits, stop);
  archive_entry* entry = nullptr;
  int code;
  while ((code = archive_read_next_header(in.get(), &entry)) == ARCHIVE_OK || code == ARCHIVE_WARN) unpacker.add(entry);
  if (code != ARCHIVE_EOF) fail(in.get());
}

}  // namespace nixery::nix

#include "maintenance/last_use.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <optional>
#include <vector>

#include "maintenance/last_run.h"
#include "os/fd.h"
#include "text/lines.h"
#include "text/number.h"

namespace nixery::maintenance {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view last_line = "end";  // missing in a torn file

// Since 1970; nullopt for times beyond 64-bit nanoseconds.
std::optional<std::int64_t> seconds_of(std::string_view text) {
  const auto seconds = text::number<std::int64_t>(text);
  constexpr std::int64_t last = 9'000'000'000;  // in the year 2255
  return seconds && *seconds >= 0 && *seconds <= last ? seconds : std::nullopt;
}

std::string key_of(const fs::path& log) {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  return image::KeyBuilder("log").add(host).add(log.string()).finish();
}

tree::ObjectName uses_name() {
  return {tree::Kind::maintenance, "uses"};
}

constexpr std::size_t most_places = 1000;
constexpr std::size_t longest_first = 32;  // bytes: a time with milliseconds has half of that

}  // namespace

// An open log, so that it stays the same file while it is read.
class LastUse::Log {
 public:
  // nullopt where there is none.
  static std::optional<Log> open(const fs::path& path) {
    os::Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      os::throw_errno("open", path);
    }
    return Log(path, std::move(fd));
  }

  std::size_t read(std::vector<char>& buffer, std::uint64_t offset) const {
    for (;;) {
      const ssize_t n = pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) os::throw_errno("read", path_);
    }
  }

  Place beginning() const { return {inode_, first_, 0}; }
  // Whether `place` belongs to this log, and it has not been truncated since (copytruncate).
  bool has(const Place& place) const { return place.inode == inode_ && place.first == first_ && place.offset <= size_; }

 private:
  Log(const fs::path& path, os::Fd fd) : path_(path), fd_(std::move(fd)) {
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) os::throw_errno("look at", path_);
    inode_ = info.st_ino;
    size_ = static_cast<std::uint64_t>(info.st_size);
    std::vector<char> start(longest_first);
    start.resize(read(start, 0));
    const std::string_view text(start.data(), start.size());
    if (const auto end = text.find_first_of(" \n"); end != text.npos) first_ = text.substr(0, end);
    if (first_.empty()) first_ = "-";
  }

  fs::path path_;
  os::Fd fd_;
  std::uint64_t inode_ = 0, size_ = 0;
  std::string first_;
};

LastUse::LastUse(const tree::BlobStore& store) : store_(&store) {
  const auto text = store.read(uses_name());
  if (!text || !text->ends_with(fmt::format("{}\n", last_line))) return;
  text::for_each_line(text::whole_lines(*text), [&](std::string_view line) {
    const auto words = text::split(line, ' ');
    if (words.size() == 2) {
      const auto digest = image::Digest::parse_hex(words[0]);
      const auto seconds = seconds_of(words[1]);
      if (digest && seconds) seconds_.insert_or_assign(*digest, *seconds);
    } else if (words.size() == 5 && words[0] == "log") {
      const auto inode = text::number<std::uint64_t>(words[2]), offset = text::number<std::uint64_t>(words[4]);
      if (inode && offset) places_[std::string(words[1])] = {*inode, std::string(words[3]), *offset};
    }
  });
}

void LastUse::save() const {
  std::string text;
  for (const auto& [log, place] : places_)
    text += fmt::format("log {} {} {} {}\n", log, place.inode, place.first, place.offset);
  for (const auto& [digest, seconds] : seconds_) text += fmt::format("{} {}\n", digest.hex(), seconds);
  store_->put(uses_name(), text + fmt::format("{}\n", last_line));
}

void LastUse::read_log(const fs::path& log) {
  if (log.empty()) return;
  const auto current = Log::open(log);
  const std::string key = key_of(log);
  const auto known = places_.find(key);
  Place place = known == places_.end() ? Place{} : known->second;
  if (!current || !current->has(place)) {
    if (const auto before = Log::open(log.string() + ".1"))
      take_lines(*before, before->has(place) ? place : before->beginning());
    if (!current) return;
    place = current->beginning();
  }
  places_[key] = take_lines(*current, place);
  // Pods have new names all the time. A log with a forgotten position is read again, which does no harm.
  while (places_.size() > most_places)
    places_.erase(places_.begin()->first == key ? std::next(places_.begin()) : places_.begin());
}

// Reads up to the last whole line; returns the position behind it.
LastUse::Place LastUse::take_lines(const Log& log, Place place) {
  std::string pending;
  std::vector<char> buffer(256 << 10);
  while (const std::size_t n = log.read(buffer, place.offset + pending.size())) {
    pending.append(buffer.data(), n);
    const std::size_t whole = pending.rfind('\n') + 1;  // 0 where there is none
    text::for_each_line(std::string_view(pending).substr(0, whole), [this](std::string_view line) { take_line(line); });
    place.offset += whole;
    pending.erase(0, whole);
    if (pending.size() > buffer.size()) {  // not a valid line
      place.offset += pending.size();
      pending.clear();
    }
  }
  return place;
}

void LastUse::take_line(std::string_view line) {
  const auto words = text::split(line, ' ');
  if (words.size() != 2) return;
  const auto seconds = seconds_of(words[0].substr(0, words[0].find('.')));
  const auto digest = image::Digest::parse(words[1]);
  if (!seconds || !digest) return;
  std::int64_t& known = seconds_[*digest];
  known = std::max(known, *seconds);
}

os::Time LastUse::of(const image::Digest& manifest) const {
  const auto known = seconds_.find(manifest);
  return os::Time(std::chrono::seconds(known == seconds_.end() ? 0 : known->second));
}

void LastUse::reset_future(os::Time now) {
  for (auto& [digest, used] : seconds_)
    if (is_in_future(os::Time(std::chrono::seconds(used)), now))
      used = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
}

void LastUse::forget(const std::function<bool(const image::Digest&)>& gone) {
  std::erase_if(seconds_, [&](const auto& entry) { return gone(entry.first); });
}

tree::LockHandle uses_lock(const tree::BlobStore& store) {
  return store.lock("uses");
}

void record_uses(const tree::BlobStore& store, const fs::path& log) {
  if (log.empty()) return;
  const auto lock = uses_lock(store);
  LastUse uses(store);
  uses.read_log(log);
  uses.save();
}

}  // namespace nixery::maintenance

#include "upkeep/last_use.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "os/fd.h"

namespace nixery::upkeep {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view last_line = "end";  // which a torn file lacks

template <typename Visit>
void for_each_line(std::string_view text, Visit&& visit) {
  for (std::size_t end; (end = text.find('\n')) != text.npos; text.remove_prefix(end + 1)) visit(text.substr(0, end));
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t space; (space = line.find(' ')) != line.npos; line.remove_prefix(space + 1))
    words.push_back(line.substr(0, space));
  words.push_back(line);
  return words;
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> inode_of(const fs::path& file) {
  struct stat info;
  if (stat(file.c_str(), &info) == 0) return info.st_ino;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  os::throw_errno("look at", file);
}

std::string key_of(const fs::path& log) {
  char host[256] = {};
  gethostname(host, sizeof host - 1);
  return image::KeyBuilder("log").add(host).add(log.string()).finish();
}

}  // namespace

LastUse::LastUse(const tree::Layout& layout) : file_(layout.uses()) {
  const auto text = os::read_if_exists(file_);
  if (!text || !text->ends_with(fmt::format("{}\n", last_line))) return;
  for_each_line(*text, [&](std::string_view line) {
    const auto words = words_of(line);
    if (words.size() == 2) {
      const auto digest = image::Digest::parse_hex(words[0]);
      const auto seconds = number<std::int64_t>(words[1]);
      if (digest && seconds) seconds_.insert_or_assign(*digest, *seconds);
    } else if (words.size() == 4 && words[0] == "log") {
      const auto inode = number<std::uint64_t>(words[2]), offset = number<std::uint64_t>(words[3]);
      if (inode && offset) places_[std::string(words[1])] = {*inode, *offset};
    }
  });
}

void LastUse::save() const {
  std::string text;
  for (const auto& [log, place] : places_) text += fmt::format("log {} {} {}\n", log, place.inode, place.offset);
  for (const auto& [digest, seconds] : seconds_) text += fmt::format("{} {}\n", digest.hex(), seconds);
  os::write_file(file_, text + fmt::format("{}\n", last_line));
}

void LastUse::read_log(const fs::path& log) {
  if (log.empty()) return;
  Place& place = places_[key_of(log)];
  const auto inode = inode_of(log);
  if (inode != place.inode) {
    const fs::path rotated = log.string() + ".1";
    if (place.inode != 0 && inode_of(rotated) == place.inode) take_lines(rotated, place);
    if (!inode) return;
    place = {*inode, 0};
  }
  take_lines(log, place);
}

// Up to the last whole line.
void LastUse::take_lines(const fs::path& log, Place& place) {
  const os::Fd fd(open(log.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return;
    os::throw_errno("open", log);
  }
  struct stat info;
  if (fstat(fd.get(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) < place.offset)
    place.offset = 0;  // cut by copytruncate
  std::string pending;
  std::vector<char> buffer(256 << 10);
  for (;;) {
    const ssize_t n = pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(place.offset + pending.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) os::throw_errno("read", log);
    if (n == 0) return;
    pending.append(buffer.data(), static_cast<std::size_t>(n));
    const std::size_t whole = pending.rfind('\n') + 1;  // 0 where there is none
    for_each_line(std::string_view(pending).substr(0, whole), [this](std::string_view line) { take_line(line); });
    place.offset += whole;
    pending.erase(0, whole);
    if (pending.size() > buffer.size()) {  // no line of ours
      place.offset += pending.size();
      pending.clear();
    }
  }
}

void LastUse::take_line(std::string_view line) {
  const auto words = words_of(line);
  if (words.size() != 2) return;
  const auto seconds = number<std::int64_t>(words[0].substr(0, words[0].find('.')));
  const auto digest = image::Digest::parse(words[1]);
  if (!seconds || !digest) return;
  std::int64_t& known = seconds_[*digest];
  known = std::max(known, *seconds);
}

os::Time LastUse::of(const image::Digest& manifest) const {
  const auto known = seconds_.find(manifest);
  return os::Time(std::chrono::seconds(known == seconds_.end() ? 0 : known->second));
}

void LastUse::forget(const std::function<bool(const image::Digest&)>& gone) {
  std::erase_if(seconds_, [&](const auto& entry) { return gone(entry.first); });
}

}  // namespace nixery::upkeep

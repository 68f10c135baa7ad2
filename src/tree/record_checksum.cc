#include "tree/record_checksum.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "os/fd.h"

namespace nixery::tree {

namespace {

constexpr std::size_t checksum_size = 16;  // hex digits: detects accidents, not forgery
constexpr std::string_view line_mark = " sum:";
constexpr std::string_view json_mark = R"(,"checksum":")";
constexpr std::string_view json_end = "\"}";

// The contents come last, so their length need not be known.
image::Sha256 begin_checksum(std::string_view kind, std::string_view key) {
  image::Sha256 hash;
  hash.update(fmt::format("record {}:{}{}:{}", kind.size(), kind, key.size(), key));
  return hash;
}

std::string end_checksum(image::Sha256& hash) {
  return hash.finish().hex().substr(0, checksum_size);
}

std::string checksum_of(std::string_view kind, std::string_view key, std::string_view contents) {
  image::Sha256 hash = begin_checksum(kind, key);
  hash.update(contents);
  return end_checksum(hash);
}

// Cuts "<mark><16 characters>" off the end of `text`; nullopt if there is no mark in its place.
std::optional<std::string_view> cut_checksum(std::string_view& text, std::string_view mark) {
  const std::size_t size = mark.size() + checksum_size;
  if (text.size() < size || text.substr(text.size() - size, mark.size()) != mark) return std::nullopt;
  const std::string_view checksum = text.substr(text.size() - checksum_size);
  text.remove_suffix(size);
  return checksum;
}

}  // namespace

std::string line_with_checksum(std::string_view kind, std::string_view key, std::string_view fields) {
  return fmt::format("{}{}{}{}", fields, line_mark, checksum_of(kind, key, fields), record_line_end);
}

std::optional<CheckedRecord> check_line(std::string_view kind, std::string_view key, std::string_view text) {
  if (!text.ends_with(record_line_end)) return std::nullopt;
  text.remove_suffix(record_line_end.size());
  const auto checksum = cut_checksum(text, line_mark);
  if (!checksum) return CheckedRecord{text, true};
  if (*checksum != checksum_of(kind, key, text)) return std::nullopt;
  return CheckedRecord{text, false};
}

std::string json_with_checksum(std::string_view kind, std::string_view key, std::string_view object) {
  std::string text;
  JsonWithChecksum record(kind, key, [&](std::string_view piece) { text += piece; });
  record.write(object);
  record.finish();
  return text;
}

JsonWithChecksum::JsonWithChecksum(std::string_view kind, std::string_view key,
                                   std::function<void(std::string_view)> out)
    : out_(std::move(out)), hash_(begin_checksum(kind, key)) {}

void JsonWithChecksum::write(std::string_view piece) {
  constexpr std::size_t longest_end = 2;  // "}\n"
  pending_ += piece;
  if (pending_.size() <= longest_end) return;
  const std::string_view certain(pending_.data(), pending_.size() - longest_end);
  hash_.update(certain);
  out_(certain);
  pending_.erase(0, certain.size());
}

void JsonWithChecksum::finish() {
  pending_.resize(std::min(pending_.rfind('}'), pending_.size()));
  hash_.update(pending_);
  out_(fmt::format("{}{}{}{}\n", pending_, json_mark, end_checksum(hash_), json_end));
}

std::optional<CheckedRecord> check_json(std::string_view kind, std::string_view key, std::string_view text) {
  std::string_view members = text.substr(0, text.find_last_not_of('\n') + 1);
  if (!members.ends_with(json_end)) return CheckedRecord{text, true};
  members.remove_suffix(json_end.size());
  const auto checksum = cut_checksum(members, json_mark);
  if (!checksum) return CheckedRecord{text, true};
  if (*checksum != checksum_of(kind, key, members)) return std::nullopt;
  return CheckedRecord{text, false};
}

std::optional<bool> check_json_file(std::string_view kind, std::string_view key, const os::Fd& fd) {
  const std::size_t end = json_mark.size() + checksum_size + json_end.size() + 1;
  struct stat info;
  if (!fd || fstat(fd.get(), &info) != 0 || static_cast<std::size_t>(info.st_size) < end) return std::nullopt;
  image::Sha256 hash = begin_checksum(kind, key);
  std::vector<char> buffer(64 << 10);
  std::string last;
  for (std::size_t left = static_cast<std::size_t>(info.st_size);;) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || static_cast<std::size_t>(n) > left) return std::nullopt;
    if (n == 0) break;
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
    const std::size_t members = left > end ? std::min(left - end, bytes.size()) : 0;
    hash.update(bytes.substr(0, members));
    last += bytes.substr(members);
    left -= bytes.size();
  }
  if (last.size() != end || !last.starts_with(json_mark) || !last.ends_with('\n')) return std::nullopt;
  return last.substr(json_mark.size(), checksum_size) == end_checksum(hash) &&
         last.substr(json_mark.size() + checksum_size) == fmt::format("{}\n", json_end);
}

}  // namespace nixery::tree

#include "tree/failures.h"

#include <algorithm>

#include "error.h"
#include "json/json.h"
#include "os/directory_limit.h"
#include "os/file.h"

namespace nixery::tree {

namespace {

std::optional<FailureRecord> read(const fs::path& path) {
  const auto text = os::read_if_exists(path);
  if (!text) return std::nullopt;
  try {
    const auto document = json::parse(*text, path.string());
    FailureRecord record{json::string_or(document, "repository", ""), json::string_or(document, "tag", ""),
                         json::string_or(document, "failure", ""),    json::string_or(document, "message", ""),
                         json::string_or(document, "detail", ""),     json::integer_at(document, "time").value_or(0)};
    if (record.repository.empty() || record.tag.empty()) return std::nullopt;
    return record;
  } catch (const Error&) {
    return std::nullopt;
  }
}

// The newest first.
std::vector<fs::path> files(const Layout& layout) {
  std::vector<std::pair<fs::file_time_type, fs::path>> dated;
  std::error_code code;
  fs::directory_iterator entry(layout.failure("x").parent_path(), code), end;
  for (; !code && entry != end; entry.increment(code)) {
    if (entry->path().extension() != ".json") continue;
    std::error_code gone;
    const auto time = fs::last_write_time(entry->path(), gone);
    if (!gone) dated.emplace_back(time, entry->path());
  }
  std::sort(dated.rbegin(), dated.rend());
  std::vector<fs::path> paths;
  for (auto& [time, path] : dated) paths.push_back(std::move(path));
  return paths;
}

}  // namespace

void write_failure(const Layout& layout, std::string_view key, const FailureRecord& record) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "repository", record.repository);
  json::member(writer, "tag", record.tag);
  json::member(writer, "failure", record.failure);
  json::member(writer, "message", record.message);
  if (!record.detail.empty()) json::member(writer, "detail", record.detail);
  json::key(writer, "time");
  writer.Int64(record.time);
  writer.EndObject();
  os::make_directories(layout.failure(key).parent_path());
  os::write_file(layout.failure(key), buffer.GetString(), false);
  os::enforce_limit(layout.failure(key).parent_path(), {kept_failures, max_failure_bytes});
}

std::optional<FailureRecord> read_failure(const Layout& layout, std::string_view key) {
  return read(layout.failure(key));
}

void remove_failure(const Layout& layout, std::string_view key) {
  std::error_code gone;
  fs::remove(layout.failure(key), gone);
}

std::vector<FailureRecord> recent_failures(const Layout& layout, std::size_t count) {
  std::vector<FailureRecord> records;
  for (const fs::path& path : files(layout)) {
    if (records.size() == count) break;
    if (auto record = read(path)) records.push_back(*std::move(record));
  }
  return records;
}

}  // namespace nixery::tree

#include "tree/failures.h"

#include <algorithm>
#include <chrono>
#include <tuple>

#include "error.h"
#include "json/json.h"

namespace nixery::tree {

namespace {

constexpr std::chrono::minutes clock_difference{10};  // between hosts that share a store

std::optional<FailureRecord> read(const BlobStore& store, const ObjectName& name) {
  const auto text = store.read(name);
  if (!text) return std::nullopt;
  try {
    const auto document = json::parse(*text, name.str());
    FailureRecord record{json::string_or(document, "repository", ""), json::string_or(document, "tag", ""),
                         json::string_or(document, "failure", ""),    json::string_or(document, "message", ""),
                         json::string_or(document, "detail", ""),     json::integer_at(document, "time").value_or(0)};
    if (record.repository.empty() || record.tag.empty()) return std::nullopt;
    return record;
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct Failed {
  ObjectName name;
  os::Time time;
  std::uint64_t size;  // bytes
};

// Newest first. A time in the future comes from a clock that was wrong: such records count as the oldest.
std::vector<Failed> list(const BlobStore& store) {
  const auto latest = std::chrono::system_clock::now() + clock_difference;
  std::vector<Failed> found;
  store.list(Kind::failure, "", [&](const ObjectName& name, const ObjectInfo& info) {
    found.push_back({name, info.modified > latest ? os::Time() : info.modified, info.size});
    return true;
  });
  std::sort(found.begin(), found.end(),
            [](const Failed& a, const Failed& b) { return std::tie(b.time, b.name) < std::tie(a.time, a.name); });
  return found;
}

void enforce_limit(const BlobStore& store) {
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  for (const Failed& failed : list(store)) {
    bytes += failed.size;
    if (++count > kept_failures || bytes > max_failure_bytes) remove_if_possible(store, failed.name);
  }
}

}  // namespace

void write_failure(const BlobStore& store, std::string_view key, const FailureRecord& record) {
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
  store.put(ObjectName::failure(key), buffer.GetString());
  enforce_limit(store);
}

std::optional<FailureRecord> read_failure(const BlobStore& store, std::string_view key) {
  return read(store, ObjectName::failure(key));
}

void remove_failure(const BlobStore& store, std::string_view key) {
  remove_if_possible(store, ObjectName::failure(key));
}

std::vector<FailureRecord> recent_failures(const BlobStore& store, std::size_t count) {
  std::vector<FailureRecord> records;
  for (const Failed& failed : list(store)) {
    if (records.size() == count) break;
    if (auto record = read(store, failed.name)) records.push_back(*std::move(record));
  }
  return records;
}

}  // namespace nixery::tree

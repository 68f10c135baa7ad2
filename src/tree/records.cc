#include "tree/records.h"

#include "error.h"
#include "json/json.h"
#include "os/file.h"

namespace nixery::tree {

namespace {

// As text: paths that are not spelt alike may be equal.
bool lies_at(const Layout& layout, const TagRecord& record, const fs::path& path) {
  return layout.record(record.repository, record.tag).native() == path.native();
}

// nullopt where there is none, where a power cut tore it, and where it names another tag than it lies at (a refresh
// drops what it names): the tag then stays until it is built again.
std::optional<TagRecord> read(const Layout& layout, const fs::path& path) {
  const auto text = os::read_if_exists(path);
  if (!text) return std::nullopt;
  try {
    const auto document = json::parse(*text, path.string());
    const json::Value* moving = json::find(document, "moving");
    const std::string tag = json::string_or(document, "tag", "");
    TagRecord record{json::string_or(document, "repository", ""),  tag,
                     json::string_or(document, "revision", ""),    moving && moving->IsBool() && moving->GetBool(),
                     json::string_or(document, "manifest", ""),    json::string_or(document, "source", tag),
                     json::string_or(document, "declaration", ""), json::string_or(document, "settings", "")};
    if (!lies_at(layout, record, path) || !image::Digest::parse(record.manifest)) return std::nullopt;
    return record;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

void write_record(const Layout& layout, const TagRecord& record) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "repository", record.repository);
  json::member(writer, "tag", record.tag);
  json::member(writer, "revision", record.revision);
  json::key(writer, "moving");
  writer.Bool(record.moving);
  json::member(writer, "manifest", record.manifest);
  if (!record.source.empty() && record.source != record.tag) json::member(writer, "source", record.source);
  if (!record.declaration.empty()) json::member(writer, "declaration", record.declaration);
  if (!record.settings.empty()) json::member(writer, "settings", record.settings);
  writer.EndObject();
  os::write_file(layout.record(record.repository, record.tag), buffer.GetString());
}

std::optional<TagRecord> read_record(const Layout& layout, std::string_view repository, std::string_view tag) {
  return read(layout, layout.record(repository, tag));
}

void remove_record(const Layout& layout, const TagRecord& record) {
  std::error_code ignored;  // gone already
  fs::remove(layout.record(record.repository, record.tag), ignored);
}

void for_each_record(const Layout& layout, const std::function<void(const TagRecord&)>& visit) {
  std::error_code code;
  fs::recursive_directory_iterator walk(layout.records(), code), end;
  for (; !code && walk != end; walk.increment(code)) {
    if (walk->path().extension() != ".json") continue;
    if (const auto record = read(layout, walk->path())) visit(*record);
  }
}

}  // namespace nixery::tree

#include "tree/records.h"

#include <fmt/format.h>

#include "error.h"
#include "json/json.h"
#include "reference/reference.h"
#include "tree/record_checksum.h"

namespace nixery::tree {

namespace {

constexpr std::string_view record_kind = "tag", image_kind = "image";

std::string key_of(std::string_view repository, std::string_view tag) {
  return fmt::format("{}:{}", repository, tag);
}

// nullopt if the text is damaged or torn, or is the record of another tag than its name says (a refresh drops what
// a record names).
std::optional<TagRecord> parse(const ObjectName& name, std::string_view text) {
  try {
    const auto document = json::parse(text, name.str());
    const json::Value* moving = json::find(document, "moving");
    if (!moving || !moving->IsBool()) return std::nullopt;
    const std::string tag = json::string_or(document, "tag", "");
    TagRecord record{json::string_or(document, "repository", ""),  tag,
                     json::string_or(document, "revision", ""),    moving->GetBool(),
                     json::string_or(document, "manifest", ""),    json::string_or(document, "source", tag),
                     json::string_or(document, "declaration", ""), json::string_or(document, "settings", "")};
    if (record.repository != name.repository() || record.tag != name.tag()) return std::nullopt;
    if (!image::Digest::parse(record.manifest)) return std::nullopt;
    if (!check_json(record_kind, key_of(record.repository, record.tag), text)) return std::nullopt;
    return record;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<TagRecord> read(const BlobStore& store, const ObjectName& name) {
  const auto text = read_if_readable(store, name);
  return text ? parse(name, *text) : std::nullopt;
}

}  // namespace

void write_record(const BlobStore& store, const TagRecord& record) {
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
  store.put(ObjectName::record(record.repository, record.tag),
            json_with_checksum(record_kind, key_of(record.repository, record.tag), buffer.GetString()));
}

std::optional<TagRecord> read_record(const BlobStore& store, std::string_view repository, std::string_view tag) {
  return read(store, ObjectName::record(repository, tag));
}

void remove_record(const BlobStore& store, std::string_view repository, std::string_view tag) {
  remove_if_possible(store, ObjectName::record(repository, tag));
}

void for_each_record(const BlobStore& store, const std::function<void(const TagRecord&)>& visit) {
  store.list(Kind::record, "", [&](const ObjectName& name, const ObjectInfo&) {
    if (const auto record = read(store, name)) visit(*record);
    return true;
  });
}

void for_each_damaged_record(const BlobStore& store,
                             const std::function<void(std::string_view, std::string_view)>& visit) {
  store.list(Kind::record, "", [&](const ObjectName& name, const ObjectInfo&) {
    if (!reference::is_repository(name.repository()) || !reference::is_tag(name.tag())) return true;
    const auto text = read_if_readable(store, name);
    if (text && !parse(name, *text)) visit(name.repository(), name.tag());
    return true;
  });
}

std::optional<image::Digest> read_image_record(const BlobStore& store, std::string_view image_key) {
  const auto text = read_if_readable(store, ObjectName::image(image_key));
  if (!text) return std::nullopt;
  // Earlier versions wrote only the digest, which the manifest itself proves.
  if (auto digest = image::Digest::parse_hex(*text)) return digest;
  const auto record = check_line(image_kind, image_key, *text);
  return record && !record->unchecked ? image::Digest::parse_hex(record->body) : std::nullopt;
}

void write_image_record(const BlobStore& store, std::string_view image_key, const image::Digest& manifest) {
  store.put(ObjectName::image(image_key), line_with_checksum(image_kind, image_key, manifest.hex()));
}

}  // namespace nixery::tree

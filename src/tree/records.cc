#include "tree/records.h"

#include <fmt/format.h>

#include <utility>

#include "error.h"
#include "json/json.h"
#include "os/file.h"
#include "reference/reference.h"
#include "tree/record_checksum.h"

namespace nixery::tree {

namespace {

// As text: paths that are not spelt alike may be equal.
bool lies_at(const Layout& layout, const TagRecord& record, const fs::path& path) {
  return layout.record(record.repository, record.tag).native() == path.native();
}

constexpr std::string_view record_kind = "tag", image_kind = "image";

std::string key_of(std::string_view repository, std::string_view tag) {
  return fmt::format("{}:{}", repository, tag);
}

// nullopt if the text is damaged or torn, or is the record of another tag than lies at `path` (a refresh drops what a
// record names).
std::optional<TagRecord> parse(const Layout& layout, const fs::path& path, std::string_view text) {
  try {
    const auto document = json::parse(text, path.string());
    const json::Value* moving = json::find(document, "moving");
    if (!moving || !moving->IsBool()) return std::nullopt;
    const std::string tag = json::string_or(document, "tag", "");
    TagRecord record{json::string_or(document, "repository", ""),  tag,
                     json::string_or(document, "revision", ""),    moving->GetBool(),
                     json::string_or(document, "manifest", ""),    json::string_or(document, "source", tag),
                     json::string_or(document, "declaration", ""), json::string_or(document, "settings", "")};
    if (!lies_at(layout, record, path) || !image::Digest::parse(record.manifest)) return std::nullopt;
    if (!check_json(record_kind, key_of(record.repository, record.tag), text)) return std::nullopt;
    return record;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<TagRecord> read(const Layout& layout, const fs::path& path) {
  const auto text = os::read_if_readable(path);
  return text ? parse(layout, path, *text) : std::nullopt;
}

template <typename Visit>
void for_each_file(const Layout& layout, Visit&& visit) {
  std::error_code code;
  fs::recursive_directory_iterator walk(layout.records(), code), end;
  for (; !code && walk != end; walk.increment(code))
    if (walk->path().extension() == ".json") visit(walk->path());
}

// The repository and tag whose record would lie at `path`; nullopt for a path that no record has.
std::optional<std::pair<std::string, std::string>> name_of(const Layout& layout, const fs::path& path) {
  if (path.parent_path().filename() != "_tags") return std::nullopt;
  std::string repository = path.parent_path().parent_path().lexically_relative(layout.records()).string();
  std::string tag = path.stem().string();
  if (!reference::is_repository(repository) || !reference::is_tag(tag)) return std::nullopt;
  return std::pair(std::move(repository), std::move(tag));
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
  os::write_file(layout.record(record.repository, record.tag),
                 json_with_checksum(record_kind, key_of(record.repository, record.tag), buffer.GetString()));
}

std::optional<TagRecord> read_record(const Layout& layout, std::string_view repository, std::string_view tag) {
  return read(layout, layout.record(repository, tag));
}

void remove_record(const Layout& layout, std::string_view repository, std::string_view tag) {
  std::error_code ignored;  // gone already
  fs::remove(layout.record(repository, tag), ignored);
}

void for_each_record(const Layout& layout, const std::function<void(const TagRecord&)>& visit) {
  for_each_file(layout, [&](const fs::path& path) {
    if (const auto record = read(layout, path)) visit(*record);
  });
}

void for_each_damaged_record(const Layout& layout,
                             const std::function<void(std::string_view, std::string_view)>& visit) {
  for_each_file(layout, [&](const fs::path& path) {
    const auto name = name_of(layout, path);
    const auto text = name ? os::read_if_readable(path) : std::nullopt;
    if (text && !parse(layout, path, *text)) visit(name->first, name->second);
  });
}

std::optional<image::Digest> read_image_record(const Layout& layout, std::string_view image_key) {
  const auto text = os::read_if_readable(layout.image(image_key));
  if (!text) return std::nullopt;
  // Versions before this one wrote the digest alone. It proves itself: no other manifest has it.
  if (auto digest = image::Digest::parse_hex(*text)) return digest;
  const auto record = check_line(image_kind, image_key, *text);
  return record && !record->unchecked ? image::Digest::parse_hex(record->body) : std::nullopt;
}

void write_image_record(const Layout& layout, std::string_view image_key, const image::Digest& manifest) {
  os::write_file(layout.image(image_key), line_with_checksum(image_kind, image_key, manifest.hex()), false);
}

}  // namespace nixery::tree

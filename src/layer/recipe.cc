#include "layer/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "error.h"
#include "json/json.h"
#include "os/file.h"
#include "store/store_path.h"
#include "text/encoding.h"
#include "tree/record_checksum.h"

namespace nixery::layer {

namespace {

constexpr std::size_t piece_size = 64 << 10;  // bytes of JSON that are written at once
constexpr std::string_view record_kind = "recipe";

// Names are bytes, JSON is UTF-8: what is not printable ASCII becomes %XX.
std::string escape(std::string_view bytes) {
  return text::percent_encode(
      bytes, [](char c) { return text::is_printable(c) && c != '%'; }, text::lower_hex_digits);
}

std::optional<Entry::Kind> kind_of(std::string_view name) {
  using enum Entry::Kind;
  for (const Entry::Kind kind : {directory, file, symlink, hard_link})
    if (name == name_of(kind)) return kind;
  return std::nullopt;
}

std::optional<std::uint64_t> unsigned_at(const json::Value& object, const char* key) {
  const std::optional<std::int64_t> value = json::integer_at(object, key);
  if (!value || *value < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

std::optional<Entry> parse_entry(const json::Value& value) {
  const auto kind = kind_of(json::string_or(value, "kind", ""));
  const auto name = text::percent_decode(json::string_or(value, "name", ""));
  const auto content = text::percent_decode(json::string_or(value, "content", ""));
  const auto mode = unsigned_at(value, "mode");
  const auto id_at = [&](const char* key) -> std::optional<std::uint64_t> {
    if (!json::find(value, key)) return 0;
    return unsigned_at(value, key);
  };
  const auto uid = id_at("uid"), gid = id_at("gid");
  constexpr auto id_max = std::numeric_limits<std::uint32_t>::max();
  if (!kind || !name || name->empty() || !content || !mode || *mode > 07777 || !uid || *uid > id_max || !gid ||
      *gid > id_max)
    return std::nullopt;
  Entry entry{*kind,
              *name,
              static_cast<unsigned>(*mode),
              *content,
              0,
              static_cast<std::uint32_t>(*uid),
              static_cast<std::uint32_t>(*gid)};
  if (entry.kind == Entry::Kind::file) entry.size = entry.content.size();
  return entry;
}

std::optional<Segment> parse_segment(const json::Value& value) {
  const auto path = json::string_at(value, "path");
  const auto nar_hash = json::string_at(value, "nar_hash");
  const auto offset = unsigned_at(value, "offset"), length = unsigned_at(value, "length"),
             tar_length = unsigned_at(value, "tar_length"), crc32 = unsigned_at(value, "crc32"),
             tar_crc32 = unsigned_at(value, "tar_crc32");
  constexpr auto crc_max = std::numeric_limits<std::uint32_t>::max();
  if (!path || !store::StorePath::parse(*path) || !nar_hash || !image::Digest::parse_hex(*nar_hash) || !offset ||
      !length || !tar_length || !crc32 || *crc32 > crc_max || tar_crc32 > crc_max)
    return std::nullopt;
  Segment segment{*path,   *nar_hash,   json::string_or(value, "library", ""), *offset,
                  *length, *tar_length, static_cast<std::uint32_t>(*crc32)};
  if (tar_crc32) segment.tar_crc32 = static_cast<std::uint32_t>(*tar_crc32);
  return segment;
}

// The segments lie one after another and end before the tail.
bool adds_up(const Recipe& recipe) {
  const std::uint64_t tail = recipe.encoding.tail().size();
  std::uint64_t at = recipe.segments.empty() ? 0 : recipe.segments.front().offset;
  for (const Segment& segment : recipe.segments) {
    if (segment.offset != at || segment.length > recipe.size) return false;
    at += segment.length;
  }
  return recipe.segments.empty() ? recipe.size >= tail : at + tail == recipe.size;
}

}  // namespace

std::string_view name_of(Entry::Kind kind) {
  switch (kind) {
    case Entry::Kind::directory: return "directory";
    case Entry::Kind::symlink: return "symlink";
    case Entry::Kind::hard_link: return "hard_link";
    case Entry::Kind::file: break;
  }
  return "file";
}

namespace {

// Calls `out` with pieces of the text, as a recipe of a large root file system takes as much memory as that.
void write_json(const Recipe& recipe, const std::function<void(std::string_view)>& out) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  const auto flush = [&](std::size_t at_least) {
    if (buffer.GetSize() < at_least) return;
    out({buffer.GetString(), buffer.GetSize()});
    buffer.Clear();
  };
  writer.StartObject();
  json::member(writer, "format", static_cast<std::uint64_t>(recipe.format));
  json::member(writer, "encoding", recipe.encoding.name());
  json::member(writer, "blob", recipe.blob.str());
  json::member(writer, "size", recipe.size);
  json::member(writer, "diff_id", recipe.diff_id.str());
  json::member(writer, "tar_size", recipe.tar_size);
  if (!recipe.entries.empty()) {
    json::key(writer, "entries");
    writer.StartArray();
    for (const Entry& entry : recipe.entries) {
      writer.StartObject();
      json::member(writer, "kind", name_of(entry.kind));
      json::member(writer, "name", escape(entry.name));
      json::member(writer, "mode", std::uint64_t{entry.mode});
      if (entry.uid != 0) json::member(writer, "uid", std::uint64_t{entry.uid});
      if (entry.gid != 0) json::member(writer, "gid", std::uint64_t{entry.gid});
      if (!entry.content.empty()) json::member(writer, "content", escape(entry.content));
      writer.EndObject();
      flush(piece_size);
    }
    writer.EndArray();
  }
  json::key(writer, "segments");
  writer.StartArray();
  for (const Segment& segment : recipe.segments) {
    writer.StartObject();
    json::member(writer, "path", segment.path);
    json::member(writer, "nar_hash", segment.nar_hash);
    json::member(writer, "library", segment.library);
    json::member(writer, "offset", segment.offset);
    json::member(writer, "length", segment.length);
    json::member(writer, "tar_length", segment.tar_length);
    json::member(writer, "crc32", std::uint64_t{segment.crc32});
    if (segment.tar_crc32) json::member(writer, "tar_crc32", std::uint64_t{*segment.tar_crc32});
    writer.EndObject();
  }
  writer.EndArray();
  if (!recipe.failed_with.empty()) {
    json::key(writer, "failed_with");
    writer.StartArray();
    for (const std::string& library : recipe.failed_with)
      writer.String(library.data(), static_cast<rapidjson::SizeType>(library.size()));
    writer.EndArray();
  }
  writer.EndObject();
  flush(0);
  out("\n");
}

}  // namespace

std::string to_json(const Recipe& recipe) {
  std::string text;
  write_json(recipe, [&](std::string_view piece) { text += piece; });
  return text;
}

std::optional<Recipe> parse_recipe(std::string_view text, const image::Digest& blob) {
  json::Document document;
  try {
    document = json::parse(text, "a recipe");
  } catch (const Error&) {
    return std::nullopt;
  }
  const auto format = json::integer_at(document, "format");
  const auto encoding = Encoding::parse(json::string_or(document, "encoding", ""));
  const auto named = image::Digest::parse(json::string_or(document, "blob", ""));
  const auto diff_id = image::Digest::parse(json::string_or(document, "diff_id", ""));
  const auto size = unsigned_at(document, "size"), tar_size = unsigned_at(document, "tar_size");
  const json::Value* segments = json::find(document, "segments");
  if (!format || *format < 0 || *format > std::numeric_limits<int>::max() || !encoding || named != blob || !diff_id ||
      !size || !tar_size || !segments || !segments->IsArray())
    return std::nullopt;
  Recipe recipe{static_cast<int>(*format), *encoding, blob, *size, *diff_id, *tar_size, {}, {}, {}};
  if (const json::Value* entries = json::find(document, "entries"); entries && entries->IsArray()) {
    std::vector<Entry> parsed;
    for (const json::Value& value : entries->GetArray()) {
      auto entry = parse_entry(value);
      if (!entry) return std::nullopt;
      parsed.push_back(std::move(*entry));
    }
    recipe.entries = std::move(parsed);
  }
  for (const json::Value& value : segments->GetArray()) {
    auto segment = parse_segment(value);
    if (!segment) return std::nullopt;
    recipe.segments.push_back(std::move(*segment));
  }
  if (const json::Value* failed = json::find(document, "failed_with"); failed && failed->IsArray())
    for (const json::Value& value : failed->GetArray())
      if (value.IsString()) recipe.failed_with.emplace_back(value.GetString(), value.GetStringLength());
  if (!adds_up(recipe)) return std::nullopt;
  return recipe;
}

std::optional<Recipe> read_recipe(const tree::BlobStore& store, const image::Digest& blob) {
  const auto text = tree::read_if_readable(store, tree::ObjectName::recipe(blob));
  const auto record = text ? tree::check_json(record_kind, blob.hex(), *text) : std::nullopt;
  auto recipe = record ? parse_recipe(record->body, blob) : std::nullopt;
  if (recipe) recipe->is_checked = !record->unchecked;
  return recipe;
}

bool has_recipe(const tree::BlobStore& store, const image::Digest& blob) {
  const auto checked =
      tree::check_json_file(record_kind, blob.hex(), tree::open_if_readable(store, tree::ObjectName::recipe(blob)));
  return checked ? *checked : read_recipe(store, blob).has_value();
}

void write_recipe(const tree::BlobStore& store, const Recipe& recipe) {
  os::PendingFile file = store.scratch(tree::Kind::recipe);
  const auto write = [&](std::string_view piece) { file.write(piece); };
  if (recipe.is_checked) {
    tree::JsonWithChecksum record(record_kind, recipe.blob.hex(), write);
    write_json(recipe, [&](std::string_view piece) { record.write(piece); });
    record.finish();
  } else {
    write_json(recipe, write);
  }
  store.put(tree::ObjectName::recipe(recipe.blob), std::move(file));
}

bool can_rebuild(const Recipe& recipe) {
  if (recipe.format != format_version) return false;
  const auto& failed = recipe.failed_with;
  return failed.empty() || std::find(failed.begin(), failed.end(), recipe.encoding.library_here()) == failed.end();
}

bool can_rebuild(const tree::BlobStore& store, const image::Digest& blob) {
  const std::optional<Recipe> recipe = read_recipe(store, blob);
  return recipe && can_rebuild(*recipe);
}

void remember_failure(const tree::BlobStore& store, Recipe recipe) {
  recipe.failed_with.push_back(recipe.encoding.library_here());
  write_recipe(store, recipe);
}

}  // namespace nixery::layer

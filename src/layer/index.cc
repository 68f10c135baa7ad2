#include "layer/index.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "text/number.h"
#include "tree/record_checksum.h"

namespace nixery::layer {

using tree::ObjectName;

namespace {

void add_path(image::KeyBuilder& key, std::string_view path, std::string_view nar_hash) {
  key.add("path").add(path).add(nar_hash);
}

void add_entry(image::KeyBuilder& key, const Entry& entry) {
  key.add("entry").add(name_of(entry.kind)).add(entry.name).add(fmt::format("{:o}", entry.mode)).add(entry.content);
  if (entry.uid != 0 || entry.gid != 0) key.add("owner").add(fmt::format("{}:{}", entry.uid, entry.gid));
}

image::KeyBuilder start_key(std::string_view kind, Encoding encoding, int format) {
  image::KeyBuilder key(kind);
  key.add(encoding.name()).add(fmt::format("{}", format));
  return key;
}

std::string layer_key_of(const Recipe& recipe) {
  image::KeyBuilder key = start_key("layer", recipe.encoding, recipe.format);
  for (const Entry& entry : recipe.entries) add_entry(key, entry);
  for (const Segment& segment : recipe.segments) add_path(key, segment.path, segment.nar_hash);
  return key.finish();
}

std::string segment_key_of(Encoding encoding, int format, std::string_view path, std::string_view nar_hash) {
  return start_key("segment", encoding, format).add(path).add(nar_hash).finish();
}

// A record is one line with a checksum (tree/record_checksum.h): a digest's hex and further fields.
constexpr std::string_view layer_kind = "layer", segment_kind = "segment";

std::optional<std::vector<std::string_view>> fields_of(std::string_view line, std::size_t count) {
  std::vector<std::string_view> fields;
  while (fields.size() + 1 < count) {
    const std::size_t space = line.find(' ');
    if (space == line.npos) return std::nullopt;
    fields.push_back(line.substr(0, space));
    line.remove_prefix(space + 1);
  }
  fields.push_back(line);
  return fields;
}

template <typename Number>
bool parse_number(std::string_view text, Number& number) {
  const auto value = text::number<Number>(text);
  number = value.value_or(0);
  return value.has_value();
}

std::optional<std::uint64_t> size_of(const tree::BlobStore& store, const image::Digest& blob) {
  const auto status = store.status(ObjectName::blob(blob));
  return status ? std::optional(status->size) : std::nullopt;
}

// "libdeflate 1.14", or "<CRC-32 of the tar> libdeflate 1.14": earlier versions wrote none, and read it as a part of
// the library's name.
std::string library_field(const Segment& segment) {
  return segment.tar_crc32 ? fmt::format("{} {}", *segment.tar_crc32, segment.library) : segment.library;
}

void parse_library_field(std::string_view field, Segment& segment) {
  const std::size_t space = field.find(' ');
  std::uint32_t crc = 0;
  if (space != field.npos && parse_number(field.substr(0, space), crc)) {
    segment.tar_crc32 = crc;
    field.remove_prefix(space + 1);
  }
  segment.library = field;
}

void write_segment(const tree::BlobStore& store, const Recipe& recipe, const Segment& segment) {
  const std::string key = segment_key_of(recipe.encoding, recipe.format, segment.path, segment.nar_hash);
  store.put(ObjectName::segment(key),
            tree::line_with_checksum(segment_kind, key,
                                     fmt::format("{} {} {} {} {} {}", recipe.blob.hex(), segment.offset, segment.length,
                                                 segment.tar_length, segment.crc32, library_field(segment))));
}

void write_layer(const tree::BlobStore& store, const Recipe& recipe) {
  const std::string key = layer_key_of(recipe);
  store.put(ObjectName::group(key), tree::line_with_checksum(layer_kind, key,
                                                             fmt::format("{} {} {} {}", recipe.blob.hex(), recipe.size,
                                                                         recipe.diff_id.hex(), recipe.tar_size)));
}

store::PathInfo path_info(const Segment& segment) {
  return {*store::StorePath::parse(segment.path), segment.nar_hash, 0, {}};
}

// The copy of a segment is checked against its bytes, but a layer's diff id is never computed again: only a recipe with
// a checksum may make a layer's record.
void write_entries(const tree::BlobStore& store, const Recipe& recipe, bool replace) {
  for (const Segment& segment : recipe.segments)
    if (replace || !find_segment(store, recipe.encoding, path_info(segment))) write_segment(store, recipe, segment);
  if (recipe.is_checked) write_layer(store, recipe);
}

std::optional<KnownLayer> parse_layer(std::string_view line) {
  const auto fields = fields_of(line, 4);
  if (!fields) return std::nullopt;
  const auto blob = image::Digest::parse_hex((*fields)[0]), diff_id = image::Digest::parse_hex((*fields)[2]);
  std::uint64_t size = 0, tar_size = 0;
  if (!blob || !diff_id || !parse_number((*fields)[1], size) || !parse_number((*fields)[3], tar_size))
    return std::nullopt;
  return KnownLayer{*blob, size, *diff_id, tar_size};
}

// Without the path and its hash, of which the record's key is made.
std::optional<KnownSegment> parse_segment(std::string_view line) {
  const auto fields = fields_of(line, 6);
  if (!fields) return std::nullopt;
  const auto blob = image::Digest::parse_hex((*fields)[0]);
  Segment segment;
  parse_library_field((*fields)[5], segment);
  if (!blob || !parse_number((*fields)[1], segment.offset) || !parse_number((*fields)[2], segment.length) ||
      !parse_number((*fields)[3], segment.tar_length) || !parse_number((*fields)[4], segment.crc32))
    return std::nullopt;
  return KnownSegment{*blob, std::move(segment)};
}

// Whether the blob is there and long enough.
bool fits(const tree::BlobStore& store, const KnownSegment& known) {
  const std::optional<std::uint64_t> size = size_of(store, known.blob);
  return size && known.segment.offset <= *size && known.segment.length <= *size - known.segment.offset;
}

// A record that has no checksum is right if the recipe, which was written apart from it, says the same.
bool is_proven_by_recipe(const tree::BlobStore& store, const KnownLayer& layer) {
  const std::optional<Recipe> recipe = read_recipe(store, layer.blob);
  if (!recipe || recipe->size != layer.size || recipe->diff_id != layer.diff_id || recipe->tar_size != layer.tar_size)
    return false;
  write_layer(store, *recipe);  // with a checksum, so that this is asked once
  return true;
}

// `record` is set if the state is sound; `unchecked`: it has no checksum (record_checksum.h).
template <typename Known>
struct LookUp {
  RecordState state;
  std::optional<Known> record = {};
  bool unchecked = false;
};

// Reads a record of one line, and not yet what it leads to.
template <typename Known>
LookUp<Known> read_line(const tree::BlobStore& store, const ObjectName& name, std::string_view kind,
                        std::string_view key, std::optional<Known> (*parse)(std::string_view)) {
  const auto line = tree::read_if_readable(store, name);
  if (!line || !line->ends_with(tree::record_line_end)) return {RecordState::torn};
  const auto record = tree::check_line(kind, key, *line);
  auto known = record ? parse(record->body) : std::nullopt;
  if (!known) return {RecordState::damaged};
  return {RecordState::sound, std::move(known), record->unchecked};
}

LookUp<KnownLayer> look_up_layer(const tree::BlobStore& store, std::string_view key) {
  auto found = read_line(store, ObjectName::group(key), layer_kind, key, &parse_layer);
  if (!found.record) return found;
  const KnownLayer& known = *found.record;
  if (size_of(store, known.blob) != known.size) return {RecordState::stale};
  if (found.unchecked && is_proven_by_recipe(store, known)) return found;
  if (!has_recipe(store, known.blob)) return {RecordState::stale};
  if (found.unchecked) return {RecordState::damaged};
  return found;
}

LookUp<KnownSegment> look_up_segment(const tree::BlobStore& store, std::string_view key) {
  auto found = read_line(store, ObjectName::segment(key), segment_kind, key, &parse_segment);
  if (found.record && !fits(store, *found.record)) return {RecordState::stale};
  return found;
}

void for_each_recipe(const tree::BlobStore& store, const std::function<void(const Recipe&)>& use) {
  store.list(tree::Kind::recipe, "", [&](const ObjectName& name, const tree::ObjectInfo&) {
    const auto blob = name.digest();
    if (const std::optional<Recipe> recipe = blob ? read_recipe(store, *blob) : std::nullopt) use(*recipe);
    return true;
  });
}

}  // namespace

std::string layer_key(Encoding encoding, const Contents& contents) {
  image::KeyBuilder key = start_key("layer", encoding, format_version);
  for (const Entry& entry : contents.entries) add_entry(key, entry);
  for (const store::PathInfo* path : contents.paths) add_path(key, path->path.str(), path->nar_hash);
  return key.finish();
}

std::string segment_key(Encoding encoding, const store::PathInfo& path) {
  return segment_key_of(encoding, format_version, path.path.str(), path.nar_hash);
}

std::optional<KnownLayer> find_layer(const tree::BlobStore& store, std::string_view key) {
  const auto found = look_up_layer(store, key);
  return found.state == RecordState::sound ? found.record : std::nullopt;
}

RecordState state_of_layer_record(const tree::BlobStore& store, std::string_view key) {
  return look_up_layer(store, key).state;
}

std::optional<KnownSegment> find_segment(const tree::BlobStore& store, Encoding encoding, const store::PathInfo& path) {
  auto found = look_up_segment(store, segment_key(encoding, path));
  if (found.state != RecordState::sound) return std::nullopt;
  found.record->segment.path = path.path.str();
  found.record->segment.nar_hash = path.nar_hash;
  return std::move(found.record);
}

RecordState state_of_segment_record(const tree::BlobStore& store, std::string_view key) {
  return look_up_segment(store, key).state;
}

void remember(const tree::BlobStore& store, const Recipe& recipe, bool replace) {
  write_recipe(store, recipe);
  write_entries(store, recipe, replace);
}

namespace {

// Drops the records of a layer with wrong contents, so that it is not reused. Its blob stays for existing images.
void forget_layer(const tree::BlobStore& store, const image::Digest& blob) {
  const std::optional<Recipe> recipe = read_recipe(store, blob);
  if (!recipe) return;
  const std::string key = layer_key_of(*recipe);
  if (const auto known = find_layer(store, key); known && known->blob == blob)
    remove_if_possible(store, ObjectName::group(key));
  remove_if_possible(store, ObjectName::recipe(blob));
}

}  // namespace

void forget_segment(const tree::BlobStore& store, Encoding encoding, const store::PathInfo& path) {
  remove_if_possible(store, ObjectName::segment(segment_key(encoding, path)));
}

void forget_layers_with(const tree::BlobStore& store, Encoding encoding, const Segment& wrong) {
  const auto is_wrong = [&](const Segment& segment) {
    return segment.path == wrong.path && segment.nar_hash == wrong.nar_hash && segment.tar_length == wrong.tar_length &&
           segment.tar_crc32 == wrong.tar_crc32;
  };
  for_each_recipe(store, [&](const Recipe& recipe) {
    if (recipe.encoding == encoding && std::any_of(recipe.segments.begin(), recipe.segments.end(), is_wrong))
      forget_layer(store, recipe.blob);
  });
}

std::size_t rebuild_index(const tree::BlobStore& store) {
  std::size_t added = 0;
  for_each_recipe(store, [&](const Recipe& recipe) {
    if (size_of(store, recipe.blob) != recipe.size) return;
    if (recipe.format != format_version) return;  // nobody asks for these any more
    const auto lacking = [&](const Segment& segment) {
      return !find_segment(store, recipe.encoding, path_info(segment));
    };
    const bool any = std::any_of(recipe.segments.begin(), recipe.segments.end(), lacking);
    if (!any && (!recipe.is_checked || find_layer(store, layer_key_of(recipe)))) return;
    write_entries(store, recipe, false);  // the recipe is there, unless somebody has just found it to be wrong
    ++added;
  });
  return added;
}

}  // namespace nixery::layer

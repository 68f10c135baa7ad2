// Recipes of layer blobs as JSON; every recipe here is that of the empty blob.
#include "layer/recipe.h"

#include "check.h"
#include "store/store_path.h"

using namespace nixery;
using fuzz::require;

namespace {

const image::Digest& blob() {
  static const auto digest = image::Digest::of("");
  return digest;
}

bool same(const layer::Recipe& a, const layer::Recipe& b) {
  return a.format == b.format && a.encoding == b.encoding && a.blob == b.blob && a.size == b.size &&
         a.diff_id == b.diff_id && a.tar_size == b.tar_size && a.entries == b.entries && a.segments == b.segments &&
         a.failed_with == b.failed_with;
}

void require_round_trip(const layer::Recipe& recipe) {
  const std::string json = layer::to_json(recipe);
  for (const char c : json) require(c == '\n' || fuzz::is_one_line({&c, 1}), "recipes are text", json);
  const auto again = layer::parse_recipe(json, blob());
  require(again && same(*again, recipe), "a recipe is unchanged after writing and reading", json);
  require(layer::to_json(*again) == json, "writing is deterministic", json);
}

void check(const layer::Recipe& recipe, std::string_view text) {
  const auto document = fuzz::strict_json(text);
  require(document["format"].GetInt64() == recipe.format, "no number is truncated", text);
  for (rapidjson::SizeType i = 0; i < recipe.segments.size(); ++i) {
    const auto& segment = document["segments"][i];
    require(segment["crc32"].GetInt64() == recipe.segments[i].crc32, "no number is truncated", text);
    if (const auto crc = recipe.segments[i].tar_crc32)
      require(segment["tar_crc32"].GetInt64() == *crc, "no number is truncated", text);
  }

  std::uint64_t at = recipe.segments.empty() ? 0 : recipe.segments.front().offset;
  for (const layer::Segment& segment : recipe.segments) {
    require(store::StorePath::parse(segment.path).has_value(), "a segment is of a store path", segment.path);
    require(fuzz::is_hex(segment.nar_hash, 64), "a segment's hash is 64 hex", segment.nar_hash);
    require(segment.offset == at && segment.length <= recipe.size - at, "segments lie in the blob, without gaps", text);
    at += segment.length;
  }
  require(at <= recipe.size && recipe.size - at >= recipe.encoding.tail().size(), "the tail fits into the blob", text);
  for (const layer::Entry& entry : recipe.entries) {
    require(!entry.name.empty() && entry.mode <= 07777, "an entry can be written", entry.name);
    require(layer::tar_header(entry).size() % layer::tar_block == 0, "a header is whole blocks", entry.name);
  }
  require_round_trip(recipe);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  if (const auto recipe = layer::parse_recipe(text, blob())) {
    check(*recipe, text);
    // Not checked for every input: the fuzzer can learn the other digest from comparisons.
    require(!layer::parse_recipe(text, image::Digest::of("x")), "a recipe is of one blob only", text);
  }

  // Names are bytes: any byte must be preserved.
  if (!text.empty() && text.size() < 4096) {
    const layer::Encoding encoding;
    layer::Recipe recipe{layer::format_version, encoding, blob(), 1000, blob(), 2000, {}, {}, {}};
    recipe.entries = {layer::Entry::file(std::string(text), std::string(text)),
                      layer::Entry::symlink(std::string(text), std::string(text))};
    require_round_trip(recipe);
  }
  return 0;
}

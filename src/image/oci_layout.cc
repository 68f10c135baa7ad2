#include "image/oci_layout.h"

#include <fmt/format.h>

#include "error.h"
#include "json/json.h"
#include "text/plain_text.h"

namespace nixery::image {

namespace {

bool has_name(const json::Value& descriptor, const std::string& name) {
  const json::Value* annotations = json::find(descriptor, "annotations");
  return annotations && json::string_at(*annotations, layout_name_annotation) == name;
}

std::string text_of(const json::Value& value) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace

void check_layout_version(std::string_view contents, std::string_view file) {
  const auto version = json::string_or(json::parse(contents, file), "imageLayoutVersion", "");
  if (version != "1.0.0")
    throw Error(Failure::bad_config,
                fmt::format("{}: the layout has version {}, not 1.0.0", file, text::in_quotes(version)));
}

std::string with_image(const std::optional<std::string>& index, const Descriptor& image, const std::string& name,
                       std::string_view file) {
  Descriptor named = image;
  named.annotations.insert_or_assign(layout_name_annotation, name);
  if (!index) return to_json(Index{Format::oci, {std::move(named)}, {}});

  json::Document document = json::parse(*index, file);
  if (!json::find(document, "manifests") || !document["manifests"].IsArray())
    throw Error(Failure::bad_config, fmt::format("{} is no image index: it has no list of manifests", file));
  json::Value& manifests = document["manifests"];
  for (auto entry = manifests.Begin(); entry != manifests.End();)
    entry = has_name(*entry, name) ? manifests.Erase(entry) : entry + 1;
  json::Document added(&document.GetAllocator());
  const std::string descriptor = to_json(named);
  added.Parse(descriptor.data(), descriptor.size());
  manifests.PushBack(added, document.GetAllocator());
  return text_of(document);
}

}  // namespace nixery::image

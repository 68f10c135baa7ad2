#include "image/parse.h"

#include <fmt/format.h>

#include "error.h"
#include "json/json.h"
#include "text/plain_text.h"

namespace nixery::image {

namespace {

Annotations strings_in(const json::Value* object) {
  Annotations strings;
  if (object && object->IsObject())
    for (const auto& [name, value] : object->GetObject())
      if (value.IsString())
        strings.emplace(std::string(name.GetString(), name.GetStringLength()),
                        std::string(value.GetString(), value.GetStringLength()));
  return strings;
}

class Reader {
 public:
  // `what`: "the manifest sha256:…"
  explicit Reader(std::string what) : what_(std::move(what)) {}

  json::Document document(std::string_view bytes) const {
    try {
      return json::parse(bytes, what_);
    } catch (const Error&) {
      refuse("is no JSON");
    }
  }

  ParsedDescriptor descriptor(const json::Value& value) const {
    const auto digest = Digest::parse(json::string_or(value, "digest", ""));
    const auto size = json::integer_at(value, "size");
    if (!digest || !size || *size < 0) refuse("has a descriptor without a digest and a size");
    ParsedDescriptor parsed{
        json::string_or(value, "mediaType", ""),      *digest, static_cast<std::uint64_t>(*size),
        strings_in(json::find(value, "annotations")), {},      json::string_or(value, "artifactType", "")};
    if (const json::Value* platform = json::find(value, "platform"); platform && platform->IsObject())
      parsed.platform = {json::string_or(*platform, "architecture", ""), json::string_or(*platform, "os", ""),
                         json::string_or(*platform, "variant", "")};
    return parsed;
  }

  std::optional<ParsedDescriptor> descriptor_at(const json::Value& document, const char* key) const {
    const json::Value* value = json::find(document, key);
    if (!value) return std::nullopt;
    return descriptor(*value);
  }

  std::vector<ParsedDescriptor> descriptors_at(const json::Value& document, const char* key) const {
    std::vector<ParsedDescriptor> parsed;
    if (const json::Value* list = json::find(document, key); list && list->IsArray())
      for (const json::Value& value : list->GetArray()) parsed.push_back(descriptor(value));
    return parsed;
  }

  MediaType type_of(const json::Value& document) const {
    const bool is_index = json::find(document, "manifests") != nullptr;
    const auto name = json::string_at(document, "mediaType");
    if (!name) return is_index ? MediaType::oci_index : MediaType::oci_manifest;
    const auto type = manifest_type_named(*name);
    if (!type) refuse("has the media type " + text::in_quotes(*name));
    if (is_index != image::is_index(*type)) refuse("has the media type of something else");
    return *type;
  }

  [[noreturn]] void refuse(std::string_view why) const {
    throw Error(Failure::corrupt, fmt::format("{} {}", what_, why));
  }

 private:
  const std::string what_;
};

}  // namespace

ParsedDescriptor parse_descriptor(std::string_view bytes, std::string_view what) {
  const Reader reader{std::string(what)};
  return reader.descriptor(reader.document(bytes));
}

ParsedManifest parse_manifest(std::string_view bytes, const Digest& digest) {
  const Reader reader("the manifest " + digest.str());
  const auto document = reader.document(bytes);
  ParsedManifest parsed{reader.type_of(document),
                        reader.descriptors_at(document, "manifests"),
                        reader.descriptor_at(document, "config"),
                        reader.descriptors_at(document, "layers"),
                        reader.descriptor_at(document, "subject"),
                        strings_in(json::find(document, "annotations")),
                        json::string_or(document, "artifactType", "")};
  if (!parsed.config && !json::find(document, "manifests")) reader.refuse("is neither an image's nor an index");
  return parsed;
}

ParsedConfig parse_config(std::string_view bytes, const Digest& digest) {
  const Reader reader("the config " + digest.str());
  const auto document = reader.document(bytes);
  ParsedConfig parsed{json::string_or(document, "architecture", ""), json::string_or(document, "os", ""), {}, {}, {}};
  if (const json::Value* container = json::find(document, "config"))
    parsed.labels = strings_in(json::find(*container, "Labels"));
  if (const json::Value* rootfs = json::find(document, "rootfs"))
    for (const std::string& text : json::strings_at(*rootfs, "diff_ids")) {
      const auto diff_id = Digest::parse(text);
      if (!diff_id) reader.refuse("has the diff id " + text::in_quotes(text));
      parsed.diff_ids.push_back(*diff_id);
    }
  if (const json::Value* history = json::find(document, "history"); history && history->IsArray())
    for (const json::Value& entry : history->GetArray())
      parsed.created_by.push_back(json::string_or(entry, "created_by", ""));
  return parsed;
}

Descriptor referrer_descriptor(std::string_view manifest_bytes, const Digest& digest) {
  const ParsedManifest manifest = parse_manifest(manifest_bytes, digest);
  // "If the artifactType is empty or missing in the image manifest, the value MUST be set to the config's mediaType."
  std::string artifact_type = manifest.artifact_type;
  if (artifact_type.empty() && manifest.config) artifact_type = manifest.config->media_type;
  return {manifest.type, digest, manifest_bytes.size(), manifest.annotations, {}, std::move(artifact_type)};
}

}  // namespace nixery::image

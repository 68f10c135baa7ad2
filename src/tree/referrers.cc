#include "tree/referrers.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "error.h"
#include "json/json.h"
#include "os/file.h"
#include "os/lock.h"

namespace nixery::tree {

namespace {

fs::path lock_file(const Layout& layout, const image::Digest& subject) {
  return layout.lock(image::KeyBuilder("referrers").add(subject.hex()).finish());
}

void write_descriptor(json::Writer& writer, const Referrer& referrer) {
  writer.StartObject();
  json::member(writer, "mediaType", image::name_of(referrer.manifest.type));
  json::member(writer, "digest", referrer.manifest.digest.str());
  json::member(writer, "size", referrer.manifest.size);
  if (!referrer.artifact_type.empty()) json::member(writer, "artifactType", referrer.artifact_type);
  if (!referrer.manifest.annotations.empty()) {
    json::key(writer, "annotations");
    writer.StartObject();
    for (const auto& [name, value] : referrer.manifest.annotations) json::member(writer, name, value);
    writer.EndObject();
  }
  writer.EndObject();
}

std::optional<image::MediaType> manifest_type_named(std::string_view name) {
  for (const image::MediaType type : image::manifest_types)
    if (image::name_of(type) == name) return type;
  return std::nullopt;
}

std::optional<Referrer> read_descriptor(const fs::path& file) {
  const auto text = os::read_if_exists(file);
  if (!text) return std::nullopt;
  try {
    const auto document = json::parse(*text, file.string());
    const auto type = manifest_type_named(json::string_or(document, "mediaType", ""));
    const auto digest = image::Digest::parse(json::string_or(document, "digest", ""));
    const auto size = json::integer_at(document, "size");
    if (!type || !digest || !size || *size < 0) return std::nullopt;
    Referrer referrer{{*type, *digest, static_cast<std::uint64_t>(*size), {}, {}},
                      json::string_or(document, "artifactType", "")};
    if (const json::Value* annotations = json::find(document, "annotations"); annotations && annotations->IsObject())
      for (const auto& [name, value] : annotations->GetObject())
        if (value.IsString()) referrer.manifest.annotations.emplace(name.GetString(), value.GetString());
    return referrer;
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Leaves a file that holds these bytes already as it is, so that publishing again touches nothing.
void replace(const Layout& layout, const fs::path& file, std::string_view bytes) {
  if (os::read_if_exists(file) == bytes) return;
  os::PendingFile pending(layout.incoming());
  pending.write(bytes);
  pending.publish(file);
}

}  // namespace

fs::path referrers_dir(const Layout& layout, const image::Digest& subject) {
  return layout.tree / "referrers/sha256" / subject.hex();
}

fs::path referrer_file(const Layout& layout, const image::Digest& subject, const image::Digest& referrer) {
  return referrers_dir(layout, subject) / fmt::format("{}.json", referrer.hex());
}

fs::path referrers_index_file(const Layout& layout, const image::Digest& subject) {
  return referrers_dir(layout, subject) / fmt::format("index.{}", image::extension_of(image::MediaType::oci_index));
}

std::vector<Referrer> referrers_of(const Layout& layout, const image::Digest& subject) {
  const fs::path dir = referrers_dir(layout, subject);
  std::vector<Referrer> referrers;
  std::error_code code;
  fs::directory_iterator entry(dir, code), end;
  for (; !code && entry != end; entry.increment(code)) {
    if (entry->path().extension() != ".json") continue;
    auto referrer = read_descriptor(entry->path());
    if (referrer && referrer->manifest.digest.hex() == entry->path().stem()) referrers.push_back(*std::move(referrer));
  }
  if (code && code != std::errc::no_such_file_or_directory)
    throw Error(Failure::storage, fmt::format("cannot list {}: {}", dir.string(), code.message()));
  std::sort(referrers.begin(), referrers.end(), [](const Referrer& a, const Referrer& b) {
    return std::tie(a.artifact_type, a.manifest.digest) < std::tie(b.artifact_type, b.manifest.digest);
  });
  return referrers;
}

std::string referrers_index(std::span<const Referrer> referrers) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "schemaVersion");
  writer.Int(2);
  json::member(writer, "mediaType", image::name_of(image::MediaType::oci_index));
  json::key(writer, "manifests");
  writer.StartArray();
  for (const Referrer& referrer : referrers) write_descriptor(writer, referrer);
  writer.EndArray();
  writer.EndObject();
  return buffer.GetString();
}

void publish_referrer(const Tree& tree, const image::Digest& subject, const Referrer& referrer) {
  const Layout& layout = tree.layout();
  json::Buffer descriptor;
  json::Writer writer(descriptor);
  write_descriptor(writer, referrer);

  const os::Lock lock(lock_file(layout, subject));
  replace(layout, referrer_file(layout, subject, referrer.manifest.digest), descriptor.GetString());
  replace(layout, referrers_index_file(layout, subject), referrers_index(referrers_of(layout, subject)));
}

std::string fallback_tag(const image::Digest& subject) {
  return fmt::format("sha256-{}", subject.hex());
}

void publish_fallback_tag(const Tree& tree, std::string_view repository, const image::Digest& subject) {
  // Under the lock, or a list that was read earlier could replace a later one.
  const os::Lock lock(lock_file(tree.layout(), subject));
  const auto referrers = referrers_of(tree.layout(), subject);
  if (referrers.empty()) return;
  const auto list = tree.publish_manifest(referrers_index(referrers), image::MediaType::oci_index);
  tree.publish_tag(repository, fallback_tag(subject), list);
}

}  // namespace nixery::tree

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

os::LockName lock_of(const Layout& layout, const image::Digest& subject) {
  return layout.key_lock(image::KeyBuilder("referrers").add(subject.hex()).finish());
}

std::optional<image::Descriptor> read_descriptor(const fs::path& file) {
  const auto text = os::read_if_exists(file);
  if (!text) return std::nullopt;
  try {
    const auto document = json::parse(*text, file.string());
    const auto type = image::manifest_type_named(json::string_or(document, "mediaType", ""));
    const auto digest = image::Digest::parse(json::string_or(document, "digest", ""));
    const auto size = json::integer_at(document, "size");
    if (!type || !digest || !size || *size < 0) return std::nullopt;
    image::Descriptor referrer{*type, *digest, static_cast<std::uint64_t>(*size),
                               {},    {},      json::string_or(document, "artifactType", "")};
    if (const json::Value* annotations = json::find(document, "annotations"); annotations && annotations->IsObject())
      for (const auto& [name, value] : annotations->GetObject())
        if (value.IsString()) referrer.annotations.emplace(name.GetString(), value.GetString());
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

std::vector<image::Descriptor> referrers_of(const Layout& layout, const image::Digest& subject) {
  const fs::path dir = referrers_dir(layout, subject);
  std::vector<image::Descriptor> referrers;
  std::error_code code;
  fs::directory_iterator entry(dir, code), end;
  for (; !code && entry != end; entry.increment(code)) {
    if (entry->path().extension() != ".json") continue;
    auto referrer = read_descriptor(entry->path());
    if (referrer && referrer->digest.hex() == entry->path().stem()) referrers.push_back(*std::move(referrer));
  }
  if (code && code != std::errc::no_such_file_or_directory)
    throw Error(Failure::storage, fmt::format("cannot list {}: {}", dir.string(), code.message()));
  std::sort(referrers.begin(), referrers.end(), [](const image::Descriptor& a, const image::Descriptor& b) {
    return std::tie(a.artifact_type, a.digest) < std::tie(b.artifact_type, b.digest);
  });
  return referrers;
}

std::string referrers_index(std::vector<image::Descriptor> referrers) {
  return image::to_json(image::Index{image::Format::oci, std::move(referrers), {}});
}

void publish_referrers(const Tree& tree, const image::Digest& subject, std::span<const image::Descriptor> referrers) {
  update_referrers(tree, subject, [&](const std::vector<image::Descriptor>&) {
    return std::vector(referrers.begin(), referrers.end());
  });
}

void update_referrers(
    const Tree& tree, const image::Digest& subject,
    const std::function<std::vector<image::Descriptor>(const std::vector<image::Descriptor>& present)>& make) {
  const Layout& layout = tree.layout();
  const os::Lock lock(lock_of(layout, subject));
  for (const image::Descriptor& referrer : make(referrers_of(layout, subject)))
    replace(layout, referrer_file(layout, subject, referrer.digest), image::to_json(referrer));
  replace(layout, referrers_index_file(layout, subject), referrers_index(referrers_of(layout, subject)));
}

std::optional<image::Digest> subject_of_fallback_tag(std::string_view tag) {
  constexpr std::string_view prefix = "sha256-";
  if (!tag.starts_with(prefix)) return std::nullopt;
  return image::Digest::parse_hex(tag.substr(prefix.size()));
}

}  // namespace nixery::tree

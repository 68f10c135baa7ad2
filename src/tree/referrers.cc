#include "tree/referrers.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "error.h"
#include "image/parse.h"
#include "os/file.h"
#include "os/lock.h"

namespace nixery::tree {

namespace {

os::LockName lock_of(const Layout& layout, const image::Digest& subject) {
  return layout.key_lock(image::KeyBuilder("referrers").add(subject.hex()).finish());
}

// As the referrer's manifest says it, which proves itself by its digest; if that is not there, as the file says it.
std::optional<image::Descriptor> read_descriptor(const Layout& layout, const fs::path& file) {
  try {
    if (const auto digest = image::Digest::parse_hex(file.stem().string()))
      if (const auto stored = Tree(layout).manifest(*digest)) return image::referrer_descriptor(stored->bytes, *digest);
  } catch (const Error&) {
    return std::nullopt;
  }

  const auto text = os::read_if_readable(file);
  if (!text) return std::nullopt;
  try {
    const auto parsed = image::parse_descriptor(*text, file.string());
    const auto type = image::manifest_type_named(parsed.media_type);
    if (!type) return std::nullopt;
    return image::Descriptor{*type, parsed.digest, parsed.size, parsed.annotations, {}, parsed.artifact_type};
  } catch (const Error&) {
    return std::nullopt;
  }
}

// Leaves a file that holds these bytes already as it is, so that publishing again touches nothing.
void replace(const Layout& layout, const fs::path& file, std::string_view bytes) {
  if (os::read_if_readable(file) == bytes) return;
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
    auto referrer = read_descriptor(layout, entry->path());
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

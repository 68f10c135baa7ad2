// Manifests and indexes of the tree, as export, signing and collections read them: after a crash they may hold any
// bytes.
#include "check.h"
#include "image/manifest.h"
#include "image/parse.h"

using namespace nixery;
using fuzz::require;

namespace {

void check_link(const image::ParsedDescriptor& link) {
  require(fuzz::is_hex(link.digest.hex(), 64), "a link has a digest", link.digest.str());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const auto digest = image::Digest::of(text);
  try {
    const image::ParsedManifest links = image::parse_manifest(text, digest);
    for (const auto& list : {links.members, links.layers})
      for (const image::ParsedDescriptor& link : list) check_link(link);
    if (links.config) check_link(*links.config);
    if (links.subject) check_link(*links.subject);

    // What was read, written as an index and read again, is the same.
    image::Index index;
    for (const image::ParsedDescriptor& member : links.members)
      index.manifests.push_back({image::MediaType::oci_manifest, member.digest, member.size, {}, {}});
    const std::string written = image::to_json(index);
    const auto again = image::parse_manifest(written, image::Digest::of(written)).members;
    require(again.size() == links.members.size(), "no member is lost", written);
    for (std::size_t i = 0; i < again.size(); ++i)
      require(again[i].digest == links.members[i].digest && again[i].size == links.members[i].size,
              "members and their order are unchanged", written);
  } catch (const Error& error) {
    require(error.failure() == Failure::corrupt && fuzz::is_presentable(error.what()), "a malformed one is corrupt",
            error.what());
    require(std::string_view(error.what()).find(digest.str()) != std::string_view::npos, "the message has the digest",
            error.what());
  }
  return 0;
}

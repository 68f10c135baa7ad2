#include "image/links.h"

#include <fmt/format.h>

#include "error.h"
#include "json/json.h"

namespace nixery::image {

namespace {

class Reader {
 public:
  explicit Reader(const Digest& manifest) : manifest_(manifest) {}

  Link link(const json::Value& descriptor) const {
    const auto digest = Digest::parse(json::string_or(descriptor, "digest", ""));
    const auto size = json::integer_at(descriptor, "size");
    if (!digest || !size || *size < 0) refuse("has a descriptor without a digest and a size");
    Link link{*digest, static_cast<std::uint64_t>(*size), {}};
    if (const json::Value* platform = json::find(descriptor, "platform"); platform && platform->IsObject())
      link.architecture = json::string_or(*platform, "architecture", "");
    return link;
  }

  std::optional<Link> link_at(const json::Value& document, const char* key) const {
    const json::Value* descriptor = json::find(document, key);
    if (!descriptor) return std::nullopt;
    return link(*descriptor);
  }

  std::vector<Link> links_at(const json::Value& document, const char* key) const {
    std::vector<Link> links;
    if (const json::Value* list = json::find(document, key); list && list->IsArray())
      for (const json::Value& descriptor : list->GetArray()) links.push_back(link(descriptor));
    return links;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(Failure::corrupt, fmt::format("the manifest {} {}", manifest_.str(), what));
  }

 private:
  const Digest& manifest_;
};

}  // namespace

Links links_of(std::string_view bytes, const Digest& manifest) {
  const Reader reader(manifest);
  const auto document = [&] {
    try {
      return json::parse(bytes, manifest.str());
    } catch (const Error&) {
      reader.refuse("is not JSON");
    }
  }();
  Links links{reader.links_at(document, "manifests"), reader.link_at(document, "config"),
              reader.links_at(document, "layers"), reader.link_at(document, "subject")};
  if (!links.config && !json::find(document, "manifests")) reader.refuse("is neither an image's nor an index");
  return links;
}

}  // namespace nixery::image

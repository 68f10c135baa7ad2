#include "registry_api/discovery.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "error.h"
#include "http/answers.h"
#include "json/json.h"
#include "reference/reference.h"
#include "text/encoding.h"
#include "text/number.h"
#include "tree/listing.h"
#include "tree/referrers.h"

namespace nixery::registry_api {

namespace {

// Decoded. '+' is not a space: media types contain '+' but no spaces.
std::optional<std::string> parameter(std::string_view query, std::string_view name) {
  const auto value = http::query_parameter(query, name);
  if (!value) return std::nullopt;
  if (auto decoded = text::percent_decode(*value)) return decoded;
  throw Error(Failure::bad_query, fmt::format("the parameter '{}' has a malformed %-escape", name));
}

struct PageRequest {
  std::size_t size = default_page;
  std::string after;  // empty: from the start
};

PageRequest read_page_request(std::string_view query) {
  PageRequest page;
  page.after = parameter(query, "last").value_or("");
  const auto n = parameter(query, "n");
  if (!n) return page;
  if (n->empty() || !text::all(*n, text::is_digit))
    throw Error(Failure::bad_query, "the parameter 'n' must be a number, 0 or more: how many names to list");
  // A number that is too large means all names.
  page.size = text::number<std::size_t>(*n).value_or(std::numeric_limits<std::size_t>::max());
  return page;
}

// {<about>,"<key>":[<the page of `names`>]}, and where the next one is.
template <typename About>
http::Response answer_page(const std::vector<std::string>& names, const PageRequest& page, std::string_view address,
                           std::string_view key, About&& about) {
  const auto first = page.after.empty() ? names.begin() : std::upper_bound(names.begin(), names.end(), page.after);
  const auto left = static_cast<std::size_t>(names.end() - first);
  const auto end = first + static_cast<std::ptrdiff_t>(std::min(page.size, left));

  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  about(writer);
  json::key(writer, key);
  writer.StartArray();
  for (auto name = first; name != end; ++name) json::string(writer, *name);
  writer.EndArray();
  writer.EndObject();

  http::Response response = http::answer_json(buffer.GetString());
  response.header("Cache-Control", "no-cache");
  // Names need no escapes in a query.
  if (end != first && end != names.end())
    response.header("Link", fmt::format("<{}?n={}&last={}>; rel=\"next\"", address, page.size, *std::prev(end)));
  return response;
}

// Well-formed digests of other algorithms (image-spec, "Registered algorithms").
bool is_sha512(std::string_view text) {
  constexpr std::string_view prefix = "sha512:";
  return text.starts_with(prefix) && text::is_hex(text.substr(prefix.size()), 128);
}

}  // namespace

http::Response tags_page(const tree::Tree& tree, std::string_view name, std::string_view query) {
  reference::check_repository(name);
  const PageRequest page = read_page_request(query);
  auto tags = tree::tags(tree.store(), name);
  // Omits signatures and documents, which are not images.
  std::erase_if(tags, [](const std::string& tag) { return reference::is_digest_tag(tag); });
  if (tags.empty())
    throw Error(Failure::unknown_repository,
                fmt::format("'{}' has no tags yet: an image is built when it is pulled", name));
  return answer_page(tags, page, fmt::format("/v2/{}/tags/list", name), "tags",
                     [&](json::Writer& writer) { json::member(writer, "name", name); });
}

http::Response catalog_page(const std::vector<std::string>* repositories, std::string_view query) {
  const PageRequest page = read_page_request(query);
  if (!repositories) throw Error(Failure::too_busy, "the list of images is being made: try again in a while");
  return answer_page(*repositories, page, "/v2/_catalog", "repositories", [](json::Writer&) {});
}

http::Response referrers_list(const tree::Tree& tree, std::string_view digest_text, std::string_view query) {
  std::vector<image::Descriptor> list;
  if (const auto subject = image::Digest::parse(digest_text)) {
    list = tree::referrers_of(tree.store(), *subject);
  } else if (!is_sha512(digest_text)) {
    throw Error(Failure::bad_digest, "the digest is malformed: give 'sha256:' and 64 lower-case hex digits");
  }
  const auto type = parameter(query, "artifactType").value_or("");
  if (!type.empty())
    std::erase_if(list, [&](const image::Descriptor& referrer) { return referrer.artifact_type != type; });

  auto response = http::response_of_type(200, image::name_of(image::MediaType::oci_index));
  response.header("Cache-Control", "no-cache");
  if (!type.empty()) response.header("OCI-Filters-Applied", "artifactType");
  response.body = tree::referrers_index(std::move(list));
  return response;
}

}  // namespace nixery::registry_api

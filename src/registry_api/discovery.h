// Lists of tags, repositories and referrers: OCI distribution-spec v1.1, "Content Discovery".
//
// `query` is the request's, undecoded. Unknown parameters are ignored. Lists are in ascending byte order and in pages:
// `n` is the most names, 0 or more; `last` is the name after which the page begins, which need not exist. If more names
// follow, the Link header has the next page.
//
// Thread-safe. Throws Error{bad_query} for a malformed `n` or escape, and Error{storage}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "tree/tree.h"

namespace nixery::registry_api {

// Names on a page if the client gives no `n`. Any `n` is allowed, as the specification requires.
inline constexpr std::size_t default_page = 10'000;

// /v2/<name>/tags/list. Throws Error{bad_name}, and Error{unknown_repository} if no image of that name was built.
http::Response tags_page(const tree::Tree& tree, std::string_view name, std::string_view query);

// /v2/_catalog: a page of `repositories`, which is tree::repositories(); null: they are still being listed, which
// throws Error{too_busy}.
http::Response catalog_page(const std::vector<std::string>* repositories, std::string_view query);

// /v2/<name>/referrers/<digest>, filtered by the query's artifactType, if any. An empty list for any well-formed digest
// without referrers, including SHA-512. Throws Error{bad_digest}.
http::Response referrers_list(const tree::Tree& tree, std::string_view digest_text, std::string_view query);

}  // namespace nixery::registry_api

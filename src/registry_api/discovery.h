// What there is to pull, and what refers to it: OCI distribution-spec v1.1, "Content Discovery".
//
// `query` is the request's, undecoded. Parameters that the specification does not know change nothing. Lists are in
// ascending order of bytes and cut into pages: `n` is how many names at most, 0 or more; `last` is the name to go on
// after, which need not exist. Where more follow, the Link header has the next page's address.
//
// Thread-safe. Throws Error{bad_query} for a malformed `n` or escape, and Error{storage}.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "tree/tree.h"

namespace nixery::registry_api {

// Names on a page where the client does not say. One that does gets as many as it asks for, as the specification wants.
inline constexpr std::size_t default_page = 10'000;

// /v2/<name>/tags/list. Throws Error{bad_name}, and Error{unknown_repository} where nothing has been built.
http::Response tags_page(const tree::Tree& tree, std::string_view name, std::string_view query);

// /v2/_catalog: a page of `repositories`, which is tree::repositories(); null: they are still being looked for. Throws
// Error{too_busy} then.
http::Response catalog_page(const std::vector<std::string>* repositories, std::string_view query);

// /v2/<name>/referrers/<digest>, filtered by artifactType where the query has one. An empty list for any well-formed
// digest that nothing refers to, SHA-512 too. Throws Error{bad_digest}.
http::Response referrers_list(const tree::Tree& tree, std::string_view digest_text, std::string_view query);

}  // namespace nixery::registry_api

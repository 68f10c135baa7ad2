// Popularity: an object of counts, from the operator's file or URL.
#include "plan/popularity.h"

#include <limits>
#include <optional>

#include "check.h"

using namespace nixery;
using fuzz::require;

namespace {

// An independent implementation: a document, then its members.
std::optional<plan::Popularity> by_document(std::string_view text) {
  const auto document = fuzz::strict_json(text);
  if (document.HasParseError() || !document.IsObject()) return std::nullopt;
  plan::Popularity popularity;
  for (const auto& member : document.GetObject()) {
    if (!member.value.IsUint64()) return std::nullopt;
    std::uint64_t& sum =
        popularity[std::string(plan::package_name({member.name.GetString(), member.name.GetStringLength()}))];
    if (__builtin_add_overflow(sum, member.value.GetUint64(), &sum)) sum = std::numeric_limits<std::uint64_t>::max();
  }
  return popularity;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const auto expected = by_document(text);
  try {
    const auto popularity = plan::parse_popularity(text, "popularity");
    require(expected == popularity, "it matches the document", text);
    for (const auto& [name, count] : popularity)
      require(plan::package_name(name) == name, "no name has a version", name);
  } catch (const Error& error) {
    require(error.failure() == Failure::bad_config && fuzz::is_presentable(error.what()), "invalid text is bad_config",
            error.what());
    require(std::string_view(error.what()).starts_with("popularity: byte "), "the message has the position",
            error.what());
    // The implementations differ on a signed zero.
    require(!expected || text.find("-0") != text.npos, "every object of counts is accepted", text);
  }
  return 0;
}

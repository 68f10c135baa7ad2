// Declared images: files of the operator's, or of whoever may write a NixImage.
#include "check.h"
#include "reference/declared.h"

using namespace nixery;
using fuzz::require;

namespace {

bool is_named_well(const reference::DeclaredImage& image) {
  return reference::is_repository(image.name) && reference::is_tag(image.tag);
}

void check_image(const reference::DeclaredImage& image, std::string_view text) {
  require(is_named_well(image), "name and tag pass the grammar: they become path names", text);
  require(!image.contents.empty(), "it holds something", text);
  for (const auto& path : image.contents)
    require(!path.text.empty() && fuzz::is_one_line(path.text), "attribute paths are one line", path.text);

  const std::string canonical = reference::canonical_json(image);
  require(!fuzz::strict_json(canonical).HasParseError(), "the canonical form is JSON", canonical);
  require(reference::canonical_json(image) == canonical, "it is the same each time", canonical);
  const reference::Reference reference = reference::reference_of(image, "hash");
  require(reference.repository == image.name && reference.tag == image.tag && reference.declared.has_value(),
          "the reference is the image's", text);
  require(!reference.source_tag().empty(), "the source is asked for something", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  try {
    const auto image = reference::parse_declared(text, "images/x.json");
    check_image(image, text);
    require(reference::parse_declared(text, "images/x.json") == image, "the same file is the same image", text);
  } catch (const Error& error) {
    require(error.failure() == Failure::bad_config && fuzz::is_presentable(error.what()), "a bad one fails as one",
            error.what());
    require(std::string_view(error.what()).starts_with("images/x.json: "), "the message names the file", error.what());
  }
  return 0;
}

// Declared images: files of the operator or of users who can write NixImages.
#include "check.h"
#include "reference/declared.h"

using namespace nixery;
using fuzz::require;

namespace {

bool is_named_well(const reference::DeclaredImage& image) {
  return reference::is_repository(image.name) && reference::is_tag(image.tag);
}

void check_image(const reference::DeclaredImage& image, std::string_view text) {
  require(is_named_well(image), "name and tag match the grammar: they become path names", text);
  require(!image.contents.empty(), "it has contents", text);
  for (const auto& path : image.contents)
    require(!path.text.empty() && fuzz::is_one_line(path.text), "attribute paths are one line", path.text);

  const auto is_inside = [](const std::string& path) {
    return path.starts_with('/') && (path + '/').find("/../") == std::string::npos &&
           !(path + '/').starts_with("/nix/");
  };
  const reference::RootAdditions& additions = image.config.additions;
  for (const auto& user : additions.users)
    require(is_inside(user.home) && fuzz::is_one_line(user.home) && user.home.find(':') == std::string::npos &&
                fuzz::is_one_line(user.shell) && user.shell.find(':') == std::string::npos,
            "a user is one line of /etc/passwd", text);
  for (const auto& each : additions.directories) require(is_inside(each.path), "directories are in the image", text);
  for (const auto& each : additions.files) require(is_inside(each.path), "files are in the image", text);
  require(image.config.user.find_first_not_of("0123456789:") == std::string::npos, "the user is numbers", text);

  const std::string canonical = reference::canonical_json(image);
  require(!fuzz::strict_json(canonical).HasParseError(), "the canonical form is JSON", canonical);
  require(reference::canonical_json(image) == canonical, "it is deterministic", canonical);
  const reference::Reference reference = reference::reference_of(image, "hash");
  require(reference.repository == image.name && reference.tag == image.tag && reference.declared.has_value(),
          "the reference is the image's", text);
  require(!reference.source_tag().empty(), "the source tag is not empty", text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  try {
    const auto image = reference::parse_declared(text, "images/x.json");
    check_image(image, text);
    require(reference::parse_declared(text, "images/x.json") == image, "the same file is the same image", text);
  } catch (const Error& error) {
    require(error.failure() == Failure::bad_config && fuzz::is_presentable(error.what()),
            "an invalid file is bad_config", error.what());
    require(std::string_view(error.what()).starts_with("images/x.json: "), "the message names the file", error.what());
    if (const auto named = reference::name_in_invalid(text))
      require(reference::is_repository(named->name) && (named->tag.empty() || reference::is_tag(named->tag)),
              "the name of an invalid file matches the grammar", text);
  }
  return 0;
}

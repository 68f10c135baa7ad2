// Image names: "<repository>\n<tag>", or "<name>[:<tag>]" without a line feed.
#include "reference/reference.h"

#include <algorithm>
#include <cctype>

#include "check.h"
#include "tree/layout.h"

using namespace nixery;
using fuzz::require;

namespace {

bool same(const reference::Reference& a, const reference::Reference& b) {
  return a.repository == b.repository && a.tag == b.tag && a.packages == b.packages && a.platform == b.platform &&
         a.encoding == b.encoding && a.has_shell == b.has_shell;
}

// Checks that the path is below `base`, for any ".." or "/" in the name.
void require_below(const tree::fs::path& path, const tree::fs::path& base) {
  const tree::fs::path relative = path.lexically_relative(base);
  require(path.lexically_normal() == path && !relative.empty() && *relative.begin() != "..", "the path stays below",
          path.string());
  for (const tree::fs::path& part : relative)
    require(part.string().size() <= 255, "each part fits NAME_MAX", part.string());
}

void check(const reference::Reference& parsed) {
  const std::string& name = parsed.repository;
  require(reference::is_repository(name) && reference::is_tag(parsed.tag), "what was parsed is well-formed", name);
  require(name.size() <= reference::max_repository_length && parsed.tag.size() <= 128, "lengths are bounded", name);

  require(!parsed.packages.empty() && parsed.packages.size() <= reference::max_packages, "1 to 64 packages", name);
  require(std::adjacent_find(parsed.packages.begin(), parsed.packages.end(), std::greater_equal<>()) ==
              parsed.packages.end(),
          "packages are ascending, each once", name);
  for (const auto& package : parsed.packages) {
    const std::string& text = package.text;
    // They become data of a Nix evaluation: no other characters may get there.
    require(!text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == text.npos,
            "a package has only the grammar's characters", text);
    require(std::isalnum(static_cast<unsigned char>(text.front())) &&
                std::isalnum(static_cast<unsigned char>(text.back())) && text.find("..") == text.npos,
            "no empty component of an attribute path", text);
    require(text != "shell" && !reference::platform_of_meta_package(text), "no meta-package is left", text);
  }
  for (const auto& package : reference::shell_packages())
    require(!parsed.has_shell || std::binary_search(parsed.packages.begin(), parsed.packages.end(), package),
            "a shell brings its packages", name);

  require(same(reference::parse(name, parsed.tag), parsed), "parsing again changes nothing", name);
  require(same(reference::parse(name + ":" + parsed.tag), parsed), "name:tag is the same", name);

  const tree::Layout layout{"/t", "/s"};
  require_below(layout.tag(name, parsed.tag), "/t/tags");
  require_below(layout.record(name, parsed.tag), "/s/records");
  const auto digest = image::Digest::of("");
  const auto target = tree::Layout::tag_target(name, digest);
  require((layout.tag(name, parsed.tag).parent_path() / target).lexically_normal() == layout.manifest_dir(digest),
          "the tag's link leads to the manifest", target.string());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = fuzz::text_of(data, size);
  const bool in_parts = text.find('\n') != text.npos;
  try {
    if (in_parts) {
      const std::string_view repository = fuzz::take_until(text, '\n');
      check(reference::parse(repository, text));
    } else {
      check(reference::parse(text));
    }
  } catch (const Error& error) {
    require(fuzz::is_one_of(error.failure(), {Failure::bad_name, Failure::bad_tag}),
            "an invalid name is bad_name or bad_tag", error.what());
    require(fuzz::is_presentable(error.what()), "the message is presentable", error.what());
    require(std::string_view(error.what()).size() < 600, "the message is short", error.what());
  }
  return 0;
}

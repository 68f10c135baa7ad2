#include "text/public_text.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "text/ascii.h"
#include "text/plain_text.h"

namespace nixery::text {

namespace {

struct Replacement {
  std::string path, name;
};

// The longest first, because directories contain one another. Only hide_directories() writes it.
std::vector<Replacement>& replacements() {
  static std::vector<Replacement> list;
  return list;
}

bool is_part_of_name(char c) {
  return text::is_alnum(c) || c == '_' || c == '-' || c == '.' || c == '+';
}

void replace(std::string& text, const Replacement& replacement) {
  for (std::size_t at = 0; (at = text.find(replacement.path, at)) != text.npos;) {
    const std::size_t end = at + replacement.path.size();
    // "/srv/nix" does not stand in "/srv/nixpkgs", but it does in "/srv/nix." at the end of a sentence.
    const auto rest =
        std::find_if_not(text.begin() + static_cast<std::ptrdiff_t>(end), text.end(), [](char c) { return c == '.'; });
    if (rest != text.end() && is_part_of_name(*rest)) {
      at = end;
      continue;
    }
    text.replace(at, replacement.path.size(), replacement.name);
    at += replacement.name.size();
  }
}

}  // namespace

void hide_directories(const std::vector<HiddenDirectory>& directories) {
  auto& list = replacements();
  list.clear();
  const auto add = [&](std::string path, const std::string& name) {
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    if (path.size() > 1 && path.starts_with('/')) list.push_back({std::move(path), name});
  };
  for (const HiddenDirectory& directory : directories) {
    add(directory.path.string(), directory.name);
    std::error_code absent;
    if (const auto real = std::filesystem::canonical(directory.path, absent); !absent)
      add(real.string(), directory.name);
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const Replacement& a, const Replacement& b) { return a.path.size() > b.path.size(); });
}

std::string public_text(std::string_view text) {
  std::string plain = text::plain_text(text);
  for (const Replacement& replacement : replacements()) replace(plain, replacement);
  return plain;
}

}  // namespace nixery::text

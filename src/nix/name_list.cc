#include "nix/name_list.h"

#include <fmt/format.h>

#include <algorithm>

#include "nix/source.h"
#include "text/ascii.h"

namespace nixery::nix {

NameList::NameList(std::vector<std::string> words) {
  for (const std::string& word : words)
    (word.find_first_of("*?[\\") == word.npos ? names_ : globs_).push_back(text::lower_case(word));
  for (auto* list : {&names_, &globs_}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
}

bool NameList::has(std::string_view name) const {
  const std::string lowered = text::lower_case(name);
  return std::binary_search(names_.begin(), names_.end(), lowered) ||
         std::any_of(globs_.begin(), globs_.end(),
                     [&](const std::string& glob) { return matches_glob(lowered, glob); });
}

std::string NameList::str() const {
  return fmt::format("{}{}{}", fmt::join(names_, " "), names_.empty() || globs_.empty() ? "" : " ",
                     fmt::join(globs_, " "));
}

bool is_simple_glob(std::string_view glob) {
  return glob.find_first_of("[\\") == glob.npos;
}

std::string glob_pattern(std::string_view glob) {
  std::string pattern;
  for (const char c : glob) {
    if (c == '*' || c == '?') {
      pattern += c == '*' ? ".*" : ".";
    } else {
      if (std::string_view(".+()|{}^$").find(c) != std::string_view::npos) pattern += '\\';
      pattern += c;
    }
  }
  return pattern;
}

}  // namespace nixery::nix

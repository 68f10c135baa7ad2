// A list of names and globs from a setting. Look-up ignores case; names cost a binary search, so thousands are cheap.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nixery::nix {

// Thread-safe once made.
class NameList {
 public:
  NameList() = default;
  NameList(std::vector<std::string> words);  // names, and globs with '*', '?', brackets or backslashes

  bool empty() const { return names_.empty() && globs_.empty(); }
  bool has(std::string_view name) const;

  // Lower case, ascending, each once.
  const std::vector<std::string>& names() const { return names_; }
  const std::vector<std::string>& globs() const { return globs_; }
  std::string str() const;  // all names and globs, separated by blanks

 private:
  std::vector<std::string> names_, globs_;
};

// True for a glob of '*' and '?' alone, which glob_pattern() takes.
bool is_simple_glob(std::string_view glob);
// The extended regular expression (POSIX, as builtins.match has them) for what a simple glob matches.
std::string glob_pattern(std::string_view glob);

}  // namespace nixery::nix

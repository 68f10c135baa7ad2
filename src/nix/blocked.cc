#include "nix/blocked.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "nix/attribute_names.h"
#include "nix/source.h"
#include "text/ascii.h"
#include "text/lines.h"

namespace nixery::nix {

namespace {

bool is_literal(std::string_view component) {
  return component.find_first_of("*?") == component.npos;
}

bool has_letters(std::string_view component) {
  return component.find_first_not_of("*?") != component.npos;
}

AliasCandidate::Step step_for(std::string_view component) {
  return is_literal(component) ? AliasCandidate::Step{std::string(component), {}}
                               : AliasCandidate::Step{{}, glob_pattern(component)};
}

// A blocked path as the sets that lead to it and its last component.
struct BlockedPath {
  std::vector<AliasCandidate::Step> within;
  std::string last;
};

std::vector<BlockedPath> paths_of(const std::vector<std::string>& globs) {
  std::vector<BlockedPath> paths;
  for (const std::string& glob : globs) {
    auto components = text::split(glob, '.');
    BlockedPath path{{}, std::string(components.back())};
    components.pop_back();
    if (!is_simple_glob(glob) || !std::all_of(components.begin(), components.end(), has_letters)) continue;
    for (const std::string_view component : components) path.within.push_back(step_for(component));
    paths.push_back(std::move(path));
  }
  return paths;
}

// Of `name`: those that end as it does.
std::vector<AliasCandidate> candidates_for(const std::vector<BlockedPath>& globs, std::string_view name) {
  const std::string path = text::lower_case(name);
  std::vector<std::string> ends;  // "python3.pkgs.requests", "pkgs.requests", "requests"
  for (const std::string_view component : text::split(path, '.'))
    ends.push_back(path.substr(static_cast<std::size_t>(component.data() - path.data())));

  std::vector<AliasCandidate> candidates;
  std::set<AliasCandidate> seen;
  const auto add = [&](const std::vector<AliasCandidate::Step>& within, const std::string& at) {
    AliasCandidate candidate{within, at};
    if (seen.insert(candidate).second) candidates.push_back(std::move(candidate));
  };
  for (const auto& [within, last] : globs) {
    if (is_literal(last)) continue;
    for (const std::string& end : ends)
      if (matches_glob(end, last)) add(within, end);
    if (last.ends_with('*') && has_letters(last)) {
      // It stands for what is in sets of such a name, too.
      auto deeper = within;
      deeper.push_back(step_for(last));
      for (const std::string& end : ends) add(deeper, end);
    }
  }
  return candidates;
}

}  // namespace

AliasCandidates alias_candidates_of(const NameList& blocked, const std::vector<reference::AttributePath>& names) {
  const auto globs = paths_of(blocked.globs());
  AliasCandidates candidates;
  for (const auto& paths : {paths_of(blocked.names()), globs})
    for (const auto& [within, last] : paths)
      if (is_literal(last)) candidates.everywhere.push_back({within, last});
  for (const reference::AttributePath& name : names)
    if (auto more = candidates_for(globs, name.text); !more.empty()) candidates.named[name.text] = std::move(more);
  return candidates;
}

}  // namespace nixery::nix

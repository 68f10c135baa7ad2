#include "nix/blocked.h"

#include <algorithm>

#include "nix/attribute_names.h"
#include "nix/source.h"
#include "text/ascii.h"

namespace nixery::nix {

namespace {

bool is_literal(std::string_view component) {
  return component.find_first_of("*?") == component.npos;
}

std::vector<std::string_view> components_of(std::string_view path) {
  std::vector<std::string_view> components;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('.', start), path.size());
    components.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return components;
}

AliasCandidate::Step step_for(std::string_view component) {
  if (is_literal(component)) return {std::string(component), {}};
  std::string pattern;
  for (const char c : component) {
    if (c == '*' || c == '?') {
      pattern += c == '*' ? ".*" : ".";
    } else {
      if (std::string_view("+()|{}^$").find(c) != std::string_view::npos) pattern += '\\';
      pattern += c;
    }
  }
  return {{}, pattern};
}

}  // namespace

bool is_blocked(const std::vector<std::string>& globs, std::string_view name) {
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    return matches_glob(text::lower_case(name), text::lower_case(glob));
  });
}

std::vector<AliasCandidate> alias_candidates_of(const std::vector<std::string>& globs, std::string_view name) {
  const std::string path = text::lower_case(name);
  std::vector<std::string_view> ends;  // "python3.pkgs.requests", "pkgs.requests", "requests"
  for (const std::string_view component : components_of(path))
    ends.push_back(std::string_view(path).substr(static_cast<std::size_t>(component.data() - path.data())));

  std::vector<AliasCandidate> candidates;
  const auto add = [&](std::vector<AliasCandidate::Step> within, std::string_view at) {
    AliasCandidate candidate{std::move(within), std::string(at)};
    if (std::find(candidates.begin(), candidates.end(), candidate) == candidates.end())
      candidates.push_back(std::move(candidate));
  };
  for (const std::string& given : globs) {
    const std::string glob = text::lower_case(given);
    auto components = components_of(glob);
    const std::string last(components.back());
    components.pop_back();
    if (glob.find_first_of("[\\") != glob.npos ||
        std::any_of(components.begin(), components.end(),
                    [](std::string_view component) { return component.find_first_not_of("*?") == component.npos; }))
      continue;
    std::vector<AliasCandidate::Step> within;
    for (const std::string_view component : components) within.push_back(step_for(component));
    for (const std::string_view end : ends)
      if (matches_glob(end, last)) add(within, end);
    if (is_literal(last)) {
      add(within, last);
    } else if (last.ends_with('*') && last.find_first_not_of("*?") != last.npos) {
      // It stands for what is in sets of such a name, too.
      within.push_back(step_for(last));
      for (const std::string_view end : ends) add(within, end);
    }
  }
  return candidates;
}

}  // namespace nixery::nix

#include "nix/attribute_names.h"

#include <fmt/format.h>

#include <algorithm>

#include "image/digest.h"
#include "log.h"
#include "os/file.h"
#include "reference/near_matches.h"
#include "reference/reference.h"
#include "text/ascii.h"
#include "text/lines.h"

namespace nixery::nix {

namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i)
    text += fmt::format("{}'{}'", i == 0 ? "" : i + 1 == names.size() ? " or " : ", ", names[i]);
  return text;
}

// As resolve.nix finds it: exactly, else the first that differs only in case, else that of "7zz" is "_7zz".
const std::string* spelling(const std::vector<std::string>& names, std::string_view wanted) {
  if (const auto exact = std::find(names.begin(), names.end(), wanted); exact != names.end()) return &*exact;
  const auto alike =
      std::ranges::find_if(names, [&](const std::string& name) { return text::equal_ignoring_case(name, wanted); });
  if (alike != names.end()) return &*alike;
  return !wanted.empty() && text::is_digit(wanted[0]) ? spelling(names, fmt::format("_{}", wanted)) : nullptr;
}

// "python3.11" for "python311": a path with its dots left out or replaced is the name of one attribute.
std::vector<std::string> joined_matches(const std::string& path, const std::vector<std::string>& outermost) {
  std::vector<std::string> matches;
  if (path.find('.') == path.npos) return matches;
  for (const std::string_view joint : {"", "_", "-"}) {
    std::string joined;
    for (const char c : path) c == '.' ? joined += joint : joined += c;
    const std::string* found = spelling(outermost, joined);
    const auto typed = found ? reference::spelling_of_attribute(*found) : std::nullopt;
    if (typed && std::find(matches.begin(), matches.end(), *typed) == matches.end()) matches.push_back(*typed);
  }
  return matches;
}

// Those that an image name can spell, as it does.
std::vector<std::string> typed(const std::vector<std::string>& names) {
  std::vector<std::string> kept;
  for (const std::string& name : names)
    if (auto spelling = reference::spelling_of_attribute(name)) kept.push_back(*std::move(spelling));
  return kept;
}

}  // namespace

Error unknown_package(const std::string& requested, std::string_view within, const std::vector<std::string>& names,
                      const std::vector<std::string>& outermost) {
  // As it was typed: its components are as many as those of `within`.
  std::size_t start = 0;
  for (auto dots = within.empty() ? 0 : std::count(within.begin(), within.end(), '.') + 1; dots > 0; --dots)
    start = std::min(requested.find('.', start), requested.size() - 1) + 1;
  const std::string wanted = requested.substr(start, requested.find('.', start) - start);

  auto near = joined_matches(requested, outermost);
  if (near.empty())
    for (const std::string& name : reference::near_matches(wanted, typed(names)))
      near.push_back(requested.substr(0, start) + name);
  std::string message = fmt::format("no package '{}'", requested);
  if (!near.empty()) message += fmt::format(": did you mean {}?", listed(near));
  return Error(Failure::unknown_package, message);
}

AttributeNames::AttributeNames(fs::path directory, const Revision& revision, const NixpkgsSettings& nixpkgs,
                               const reference::Platform& platform)
    : directory_(std::move(directory)),
      revision_(fmt::format("{} {} {}", revision.url, revision.id, nixpkgs.config_digest())),
      system_(platform.nix_system) {}

fs::path AttributeNames::file_of(std::string_view within) const {
  return directory_ / image::KeyBuilder("attributes").add(revision_).add(system_).add(within).finish();
}

std::optional<std::vector<std::string>> AttributeNames::names_within(std::string_view within) const {
  if (directory_.empty()) return std::nullopt;
  const auto text = os::read_if_exists(file_of(within));
  // Cut off by a power cut, it would lack names: so its last line says that it is whole.
  constexpr std::string_view end = "\n.\n";
  if (!text || !text->ends_with(end)) return std::nullopt;
  auto names = text::lines(std::string_view(*text).substr(0, text->size() - 2));
  std::erase(names, "");
  return names;
}

std::optional<std::string> AttributeNames::spelt(const std::string& path) const {
  std::string within;
  std::vector<std::string> outermost;
  for (std::size_t start = 0; start <= path.size();) {
    const auto names = names_within(within);
    if (!names) return std::nullopt;
    if (start == 0) outermost = *names;
    const std::size_t dot = std::min(path.find('.', start), path.size());
    const std::string* found = spelling(*names, std::string_view(path).substr(start, dot - start));
    if (!found) throw unknown_package(path, within, *names, outermost);
    within += (within.empty() ? "" : ".") + *found;
    start = dot + 1;
  }
  return within;
}

void AttributeNames::refuse_unknown(const std::vector<reference::AttributePath>& paths) const {
  for (const reference::AttributePath& path : paths) spelt(path.text);
}

std::optional<std::vector<std::string>> AttributeNames::names(std::string_view set) const {
  if (set.empty()) return names_within({});
  const auto within = spelt(std::string(set));
  return within ? names_within(*within) : std::nullopt;
}

void AttributeNames::remember(std::string_view within, const std::vector<std::string>& names) const {
  // What is no attribute set has no names. One that holds a newline, or is the mark of the end, nobody can ask for.
  if (directory_.empty() || names.empty()) return;
  std::string text;
  for (const std::string& name : names)
    if (!name.empty() && name != "." && name.find('\n') == name.npos) text += name + "\n";
  try {
    os::make_directories(directory_);
    os::write_file(file_of(within), "\n" + text + ".\n", false);
    os::enforce_limit(directory_, attribute_names_limit);
  } catch (const Error& error) {
    log::warning("cannot keep the names of attributes", {{"error", error.what()}});
  }
}

}  // namespace nixery::nix

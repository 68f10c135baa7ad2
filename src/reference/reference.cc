#include "reference/reference.h"

#include <fmt/format.h>

#include <algorithm>

#include "error.h"
#include "reference/declared_fields.h"
#include "text/encoding.h"
#include "text/lines.h"
#include "text/plain_text.h"

namespace nixery::reference {

namespace {

bool is_lower_alnum(char c) {
  return text::is_lower(c) || text::is_digit(c);
}

// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*
bool is_component(std::string_view text) {
  std::size_t i = 0;
  const auto skip_alnum = [&] {
    const std::size_t start = i;
    while (i < text.size() && is_lower_alnum(text[i])) ++i;
    return i > start;
  };
  if (!skip_alnum()) return false;
  while (i < text.size()) {
    if (text[i] == '.') {
      ++i;
    } else if (text[i] == '_') {
      i += text.substr(i).starts_with("__") ? 2U : 1U;
    } else if (text[i] == '-') {
      while (i < text.size() && text[i] == '-') ++i;
    } else {
      return false;
    }
    if (!skip_alnum()) return false;
  }
  return true;
}

void check_tag(std::string_view tag) {
  if (!is_tag(tag))
    throw Error(
        Failure::bad_tag,
        fmt::format("{} is not a valid tag: 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'",
                    text::in_quotes(tag)));
}

// Applies a meta-package to `reference`; false if `component` is an ordinary package.
bool take_meta_package(Reference& reference, std::string_view component) {
  if (component == "shell") {
    reference.has_shell = true;
    const auto& shell = shell_packages();
    reference.packages.insert(reference.packages.end(), shell.begin(), shell.end());
    return true;
  }
  if (const auto platform = platform_of_meta_package(component)) {
    if (reference.platform && *reference.platform != *platform)
      throw Error(Failure::bad_name, fmt::format("an image is for one platform: '{}' and '{}' contradict each other",
                                                 reference.platform->meta_package, component));
    reference.platform = platform;
    return true;
  }
  return false;
}

}  // namespace

bool is_repository(std::string_view text) {
  if (text.empty() || text.size() > max_repository_length) return false;
  const auto parts = text::split(text, '/');
  return std::all_of(parts.begin(), parts.end(), is_component);
}

void check_repository(std::string_view repository) {
  if (repository.empty()) throw Error(Failure::bad_name, "an image name must name at least one package");
  if (repository.size() > max_repository_length)
    throw Error(Failure::bad_name, fmt::format("the image name is {} characters long; at most {} are allowed",
                                               repository.size(), max_repository_length));
  for (const std::string_view component : text::split(repository, '/'))
    if (!is_component(component))
      throw Error(
          Failure::bad_name,
          fmt::format("{} is not a valid part of an image name: parts are lower-case letters and digits, joined by "
                      "single '.', '_', '__' or dashes",
                      text::in_quotes(component)));
}

bool is_tag(std::string_view text) {
  const auto is_word = [](char c) { return text::is_alnum(c) || c == '_'; };
  return !text.empty() && text.size() <= 128 && is_word(text[0]) &&
         text::all(text, [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_digest_tag(std::string_view tag) {
  constexpr std::string_view prefix = "sha256-";
  return tag.starts_with(prefix) && text::is_hex(tag.substr(prefix.size(), 64), 64);
}

bool is_commit(std::string_view tag) {
  return text::is_hex(tag, 40);
}

const std::vector<AttributePath>& shell_packages() {
  static const std::vector<AttributePath> packages = {{"bashinteractive"}, {"coreutils"}, {"moreutils"}, {"nano"}};
  return packages;
}

std::optional<std::string> spelling_of_attribute(std::string_view attribute) {
  if (attribute.size() > 1 && attribute[0] == '_' && text::is_digit(attribute[1])) attribute.remove_prefix(1);
  std::string lowered = text::lower_case(attribute);
  return is_component(lowered) && lowered.find('.') == lowered.npos ? std::optional(std::move(lowered)) : std::nullopt;
}

Reference parse(std::string_view repository, std::string_view tag) {
  check_repository(repository);
  check_tag(tag);
  Reference reference;
  reference.repository = repository;
  reference.tag = tag;
  auto components = text::split(repository, '/');
  // zstd and gzip are packages too, so they choose the encoding only if another component follows.
  if (components.size() > 1 && (components[0] == "zstd" || components[0] == "gzip")) {
    reference.encoding = components[0];
    components.erase(components.begin());
  }
  for (const std::string_view component : components)
    if (!take_meta_package(reference, component)) reference.packages.push_back({std::string(component)});
  std::sort(reference.packages.begin(), reference.packages.end());
  const auto last = std::unique(reference.packages.begin(), reference.packages.end());
  reference.packages.erase(last, reference.packages.end());
  if (reference.packages.empty())
    throw Error(Failure::bad_name,
                fmt::format("'{}' names no package: add one, as in '{}/git'", repository, repository));
  if (reference.packages.size() > max_packages)
    throw Error(Failure::bad_name, fmt::format("{} packages in one image; at most {} are allowed",
                                               reference.packages.size(), max_packages));
  return reference;
}

Reference parse(std::string_view name_and_tag) {
  const auto [name, tag] = split_tag(name_and_tag);
  return parse(name, tag);
}

NameAndTag split_tag(std::string_view name_and_tag) {
  const auto colon = name_and_tag.rfind(':');
  if (colon == name_and_tag.npos) return {name_and_tag, "latest"};
  return {name_and_tag.substr(0, colon), name_and_tag.substr(colon + 1)};
}

std::string Reference::source_tag() const {
  if (!declared) return tag;
  return declared->source.empty() ? "latest" : declared->source;
}

}  // namespace nixery::reference

#include "attestations/subject.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "image/digest.h"
#include "text/encoding.h"

namespace nixery::attestations {

namespace {

constexpr std::array<std::string_view, 14> usual_outputs = {"bin",    "data", "debug",  "dev",     "devdoc",
                                                            "devman", "doc",  "getent", "info",    "lib",
                                                            "man",    "out",  "static", "terminfo"};

// purl-spec, "Character encoding". Qualifiers allow a few more characters unencoded, but encoding them is valid.
std::string encoded(std::string_view text) {
  return text::percent_encode(text);
}

// "https://host/NixOS/nixpkgs.git", "https://host/NixOS/nixpkgs/archive/….tar.gz" -> "nixpkgs"; empty for a path.
std::string origin_of(std::string_view url) {
  url = url.substr(0, url.find("/archive/"));
  while (url.ends_with('/')) url.remove_suffix(1);
  if (url.ends_with(".git")) url.remove_suffix(4);
  const auto slash = url.find_last_of("/:");
  return text::lower_case(slash == url.npos ? url : url.substr(slash + 1));
}

std::string nix_purl(const Component& component, std::string_view origin, std::string_view commit) {
  std::string purl = "pkg:nix/";
  if (!origin.empty()) purl += encoded(origin) + "/";
  purl += encoded(component.package ? std::string_view(component.package->attribute) : component.name);
  if (!component.version.empty()) purl += "@" + encoded(component.version);
  // Qualifiers are sorted by name.
  if (!commit.empty()) fmt::format_to(std::back_inserter(purl), "?commit={}", commit);
  if (!component.output.empty() && component.output != "out")
    fmt::format_to(std::back_inserter(purl), "{}output={}", commit.empty() ? '?' : '&', encoded(component.output));
  return purl;
}

struct Origin {
  const nix::Package* package;
  std::string_view output;
};

std::map<std::string_view, Origin> outputs_of(const nix::Resolution& resolution) {
  std::map<std::string_view, Origin> outputs;
  const auto add = [&](const nix::Package& package) {
    for (const nix::Output& output : package.outputs)
      outputs.try_emplace(output.path.str(), Origin{&package, output.name});
  };
  for (const nix::Package& package : resolution.packages) add(package);
  if (resolution.cacert) add(*resolution.cacert);
  return outputs;
}

}  // namespace

NameParts parse_name(std::string_view name) {
  for (std::size_t i = 0; i + 1 < name.size(); ++i) {
    if (name[i] != '-' || text::is_letter(name[i + 1])) continue;
    NameParts parts{name.substr(0, i), name.substr(i + 1), {}};
    const auto dash = parts.version.rfind('-');
    if (dash == parts.version.npos) return parts;
    const std::string_view last = parts.version.substr(dash + 1);
    if (std::find(usual_outputs.begin(), usual_outputs.end(), last) == usual_outputs.end()) return parts;
    parts.output = last;
    parts.version = parts.version.substr(0, dash);
    return parts;
  }
  return {name, {}, {}};
}

std::vector<Component> components_of(const Subject& subject) {
  const auto outputs = outputs_of(subject.resolution);
  const std::string origin = origin_of(subject.revision.url);
  const std::string_view commit = is_commit(subject.revision.id) ? std::string_view(subject.revision.id) : "";
  std::vector<Component> components;
  components.reserve(subject.closure.paths.size());
  for (const store::PathInfo& info : subject.closure.paths) {
    const NameParts parts = parse_name(info.path.name());
    Component component{&info, nullptr, std::string(parts.name), std::string(parts.version), std::string(parts.output),
                        {}};
    if (const auto known = outputs.find(info.path.str()); known != outputs.end()) {
      const nix::Package& package = *known->second.package;
      component.package = &package;
      component.output = known->second.output;
      if (!package.pname.empty()) component.name = package.pname;
      if (!package.version.empty()) component.version = package.version;
    }
    component.purl = nix_purl(component, origin, commit);
    components.push_back(std::move(component));
  }
  return components;
}

std::vector<std::uint32_t> roots_of(const std::vector<Component>& components) {
  std::vector<std::uint32_t> roots;
  for (std::size_t i = 0; i < components.size(); ++i)
    if (components[i].package) roots.push_back(static_cast<std::uint32_t>(i));
  return roots;
}

std::string image_name(const Subject& subject) {
  std::string name;
  for (const nix::Package& package : subject.resolution.packages) name += (name.empty() ? "" : "/") + package.attribute;
  return name.empty() ? "empty" : name;
}

std::string image_purl(const Subject& subject) {
  const std::string name = image_name(subject);
  return fmt::format("pkg:oci/{}@{}?arch={}", encoded(text::lower_case(name.substr(name.rfind('/') + 1))),
                     encoded(subject.manifest.digest.str()), encoded(subject.platform.architecture));
}

std::string uuid_of(std::string_view bytes) {
  std::string hex = image::Digest::of(bytes).hex();
  hex[12] = '8';                         // version 8: custom
  hex[16] = "89ab"[(hex[16] % 16) & 3];  // variant
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20, 12));
}

bool is_web_address(std::string_view text) {
  if (!text.starts_with("http://") && !text.starts_with("https://")) return false;
  return text::all(text, [](char c) {
    return c != ' ' && text::is_printable(c) && std::string_view("\"<>\\^`{|}").find(c) == std::string_view::npos;
  });
}

bool is_commit(std::string_view text) {
  return text::is_hex(text, 40);
}

}  // namespace nixery::attestations

#include "attestations/provenance.h"

#include <fmt/format.h>

#include "json/json.h"

namespace nixery::attestations {

namespace {

using json::member;
using json::Writer;

// One or several members of a DigestSet (in-toto, spec/v1/digest_set.md).
void write_digest(Writer& writer, std::string_view algorithm, std::string_view value) {
  json::key(writer, "digest");
  writer.StartObject();
  member(writer, algorithm, value);
  writer.EndObject();
}

// A commit of a repository, an archive of a commit, or a local directory (which has no URL).
void write_source(Writer& writer, const nix::Revision& revision) {
  const bool commit = is_commit(revision.id);
  constexpr std::string_view contents = "sha256:";
  writer.StartObject();
  member(writer, "name", "package set");
  if (revision.url.empty()) {
    member(writer, "uri", fmt::format("urn:nixery:package-set:{}", revision.id));
  } else if (commit && revision.url.find(revision.id) == std::string::npos) {
    member(writer, "uri", fmt::format("git+{}@{}", revision.url, revision.id));
  } else {
    member(writer, "uri", revision.url);
  }
  if (commit) {
    write_digest(writer, "gitCommit", revision.id);
  } else if (revision.id.starts_with(contents)) {
    // Not "sha256", because it is not the hash of one file but of a list of the directory's files and contents.
    write_digest(writer, "nixeryContents", std::string_view(revision.id).substr(contents.size()));
  }
  writer.EndObject();
}

// The operator's settings for nixpkgs: they change what a name resolves to.
void write_nixpkgs_parameters(Writer& writer, const nix::NixpkgsSettings& nixpkgs) {
  const auto write = [&](std::string_view name, const nix::NameList& list) {
    if (list.empty()) return;
    json::key(writer, name);
    writer.StartArray();
    for (const auto* words : {&list.names(), &list.globs()})
      for (const std::string& word : *words) json::string(writer, word);
    writer.EndArray();
  };
  json::key(writer, "internalParameters");
  writer.StartObject();
  write("allowUnfree", nixpkgs.unfree);
  write("allowInsecure", nixpkgs.insecure);
  write("allowBroken", nixpkgs.broken);
  writer.EndObject();
}

void write_nixpkgs_configuration(Writer& writer, const std::string& digest) {
  writer.StartObject();
  member(writer, "name", "nixpkgs configuration");
  member(writer, "uri", "urn:nixery:nixpkgs-configuration:" + digest);
  write_digest(writer, "sha256", digest);
  writer.EndObject();
}

// A derivation's path contains its hash, so the file itself need not be published.
void write_derivation(Writer& writer, const nix::Package& package) {
  if (package.drv_path.empty()) return;
  writer.StartObject();
  member(writer, "name", package.attribute);
  member(writer, "uri", "nix:" + package.drv_path);
  json::key(writer, "annotations");
  writer.StartObject();
  json::key(writer, "outputs");
  writer.StartArray();
  for (const nix::Output& output : package.outputs) json::string(writer, output.path.str());
  writer.EndArray();
  writer.EndObject();
  writer.EndObject();
}

std::string platform_text(const image::PlatformName& platform) {
  std::string text = platform.os + "/" + platform.architecture;
  return platform.variant.empty() ? text : text + "/" + platform.variant;
}

void write_build_definition(Writer& writer, const Subject& subject) {
  const nix::Resolution& resolution = subject.resolution;
  json::key(writer, "buildDefinition");
  writer.StartObject();
  member(writer, "buildType", provenance_build_type);
  json::key(writer, "externalParameters");
  writer.StartObject();
  member(writer, "reference", fmt::format("{}:{}", subject.repository, subject.tag));
  json::key(writer, "packages");
  writer.StartArray();
  for (const nix::Package& package : resolution.packages) json::string(writer, package.requested);
  writer.EndArray();
  member(writer, "platform", platform_text(subject.platform));
  writer.EndObject();
  if (!subject.nixpkgs.is_default()) write_nixpkgs_parameters(writer, subject.nixpkgs);
  json::key(writer, "resolvedDependencies");
  writer.StartArray();
  write_source(writer, subject.revision);
  if (const std::string digest = subject.nixpkgs.config_digest(); !digest.empty())
    write_nixpkgs_configuration(writer, digest);
  for (const nix::Package& package : resolution.packages) write_derivation(writer, package);
  if (resolution.cacert) write_derivation(writer, *resolution.cacert);
  writer.EndArray();
  writer.EndObject();
}

}  // namespace

std::string provenance_statement(const Subject& subject, std::string_view builder_id) {
  json::Buffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  member(writer, "_type", "https://in-toto.io/Statement/v1");
  json::key(writer, "subject");
  writer.StartArray();
  writer.StartObject();
  member(writer, "name", subject.repository);
  write_digest(writer, "sha256", subject.manifest.digest.hex());
  writer.EndObject();
  writer.EndArray();
  member(writer, "predicateType", provenance_predicate_type);
  json::key(writer, "predicate");
  writer.StartObject();
  write_build_definition(writer, subject);
  json::key(writer, "runDetails");
  writer.StartObject();
  json::key(writer, "builder");
  writer.StartObject();
  member(writer, "id", builder_id.empty() ? unnamed_builder : builder_id);
  json::key(writer, "version");
  writer.StartObject();
  member(writer, "nixery", fmt::format("{}", format_version));
  writer.EndObject();
  writer.EndObject();
  writer.EndObject();
  writer.EndObject();
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

}  // namespace nixery::attestations

#include "nix/request.h"

#include "json/json.h"
#include "nix/blocked.h"

namespace nixery::nix {

namespace {

void write_candidates(json::Writer& writer, const std::vector<AliasCandidate>& candidates) {
  writer.StartArray();
  for (const AliasCandidate& candidate : candidates) {
    writer.StartObject();
    json::key(writer, "within");
    writer.StartArray();
    for (const AliasCandidate::Step& step : candidate.within) {
      writer.StartObject();
      json::member(writer, step.name.empty() ? "pattern" : "name", step.name.empty() ? step.pattern : step.name);
      writer.EndObject();
    }
    writer.EndArray();
    json::member(writer, "path", candidate.path);
    writer.EndObject();
  }
  writer.EndArray();
}

void write_list(json::Writer& writer, std::string_view kind, const NameList& list) {
  json::key(writer, kind);
  writer.StartObject();
  json::member_strings(writer, "names", list.names());
  std::vector<std::string> patterns;
  for (const std::string& glob : list.globs()) patterns.push_back(glob_pattern(glob));
  json::member_strings(writer, "patterns", patterns);
  writer.EndObject();
}

}  // namespace

std::string request_json(const NixSettings& settings, const std::vector<reference::AttributePath>& names,
                         const reference::Platform& platform, Examples examples) {
  const AliasCandidates candidates = alias_candidates_of(settings.blocked, names);
  return json::object([&](json::Writer& writer) {
    json::member(writer, "system", platform.nix_system);
    json::key(writer, "names");
    writer.StartArray();
    for (const auto& name : names) json::string(writer, name.text);
    writer.EndArray();
    json::key(writer, "allow");
    writer.StartObject();
    write_list(writer, "unfree", settings.nixpkgs.unfree);
    write_list(writer, "insecure", settings.nixpkgs.insecure);
    write_list(writer, "broken", settings.nixpkgs.broken);
    writer.EndObject();
    json::key(writer, "config");
    writer.Bool(!settings.nixpkgs.config.empty());
    json::key(writer, "examples");
    writer.Bool(examples == Examples::wanted);
    json::key(writer, "aliases");
    writer.StartObject();
    json::key(writer, "everywhere");
    write_candidates(writer, candidates.everywhere);
    json::key(writer, "named");
    writer.StartObject();
    for (const auto& [name, more] : candidates.named) {
      json::key(writer, name);
      write_candidates(writer, more);
    }
    writer.EndObject();
    writer.EndObject();
  });
}

RequestFiles::RequestFiles(const std::filesystem::path& directory, std::string_view request,
                           const NixpkgsSettings& nixpkgs)
    : request_(directory) {
  request_.write(request);
  if (nixpkgs.config.empty()) return;
  config_.emplace(directory);
  config_->write(nixpkgs.config);
}

std::vector<std::string> RequestFiles::arguments() const {
  std::vector<std::string> words = {"-I", "nixery-request=" + std::filesystem::canonical(request_.path()).string()};
  if (config_)
    words.insert(words.end(), {"-I", "nixery-config=" + std::filesystem::canonical(config_->path()).string()});
  return words;
}

}  // namespace nixery::nix

#include "pipeline/compose.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "pipeline/image_pipeline.h"
#include "reference/declared.h"
#include "text/public_text.h"

namespace nixery::pipeline {

namespace {

bool has_program(const Facts& facts, std::string_view name) {
  return std::binary_search(facts.programs.begin(), facts.programs.end(), name);
}

// The default command: a shell if `shell` was requested, else the first package's program.
std::vector<std::string> default_command(const Facts& facts) {
  if (facts.reference.has_shell && has_program(facts, "bash")) return {"bash"};
  for (const nix::Package& package : facts.packages)
    for (const std::string& name : {package.main_program, package.pname})
      if (!name.empty() && has_program(facts, name)) return {name};
  return {};
}

// Replaces the variable or appends "NAME=value".
void set_variable(std::vector<std::string>& env, const std::string& name, const std::string& value) {
  const auto at =
      std::find_if(env.begin(), env.end(), [&](const std::string& text) { return text.starts_with(name + "="); });
  if (at == env.end())
    env.push_back(name + "=" + value);
  else
    *at = name + "=" + value;
}

// As in a Dockerfile, an explicit entrypoint removes the default command.
void apply(const reference::ImageConfig& declared, image::Config& config) {
  if (declared.entrypoint) {
    config.entrypoint = *declared.entrypoint;
    config.cmd.clear();
  }
  if (declared.cmd) config.cmd = *declared.cmd;
  for (const auto& [name, value] : declared.env) set_variable(config.env, name, value);
  config.user = declared.user;
  config.workdir = declared.workdir;
  for (const auto& [name, value] : declared.labels) config.labels[name] = value;
  config.exposed_ports = declared.exposed_ports;
  config.volumes = declared.volumes;
  config.stop_signal = declared.stop_signal;
  config.shell = declared.shell;
  if (const auto& check = declared.healthcheck)
    config.healthcheck = image::Healthcheck{check->test,         check->interval,       check->timeout,
                                            check->start_period, check->start_interval, check->retries};
}

template <typename Items, typename Text>
std::string joined(const Items& items, const char* separator, Text&& text) {
  std::string all;
  for (const auto& item : items) all += (all.empty() ? "" : separator) + text(item);
  return all;
}

}  // namespace

image::Annotations describe(const Facts& facts) {
  image::Annotations annotations;
  const auto set = [&](const char* key, std::string value) {
    if (!value.empty()) annotations["org.opencontainers.image." + std::string(key)] = std::move(value);
  };
  set("created", created);
  set("title", joined(facts.packages, ", ", [](const nix::Package& p) { return p.attribute; }));
  set("revision", facts.revision.id);
  set("source", facts.revision.url);
  if (facts.packages.size() == 1) {
    set("description", facts.packages[0].description);
    set("version", facts.packages[0].version);
    set("url", facts.packages[0].homepage);
  }
  std::set<std::string> licenses;
  for (const nix::Package& package : facts.packages) licenses.insert(package.licenses.begin(), package.licenses.end());
  set("licenses", joined(licenses, " AND ", [](const std::string& license) { return license; }));
  annotations["io.nixery.packages"] =
      joined(facts.packages, " ", [](const nix::Package& p) { return fmt::format("{}={}", p.attribute, p.version); });
  return annotations;
}

image::PlatformName platform_name(const reference::Platform& platform) {
  return {std::string(platform.architecture()), std::string(platform.os), std::string(platform.variant)};
}

image::Config compose_config(const Facts& facts, std::vector<image::ConfigLayer> layers) {
  image::Config config;
  config.platform = platform_name(facts.platform);
  config.created = created;
  config.env = {"PATH=/bin:/sbin:/usr/local/bin:/usr/bin"};
  if (facts.has_certificates) {
    config.env.push_back("SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt");
    config.env.push_back("NIX_SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt");
  }
  config.cmd = default_command(facts);
  config.labels = describe(facts);
  config.layers = std::move(layers);
  if (facts.reference.declared) {
    apply(facts.reference.declared->config, config);
    config.labels[reference::declaration_label] = facts.reference.declared->hash;
  }
  return config;
}

image::Index compose_index(image::Format format, const nix::Revision& revision,
                           const std::vector<IndexMember>& members) {
  image::Index index{format, {}, {}};
  index.annotations = {{"org.opencontainers.image.created", created},
                       {"org.opencontainers.image.revision", revision.id}};
  if (!revision.url.empty()) index.annotations["org.opencontainers.image.source"] = revision.url;
  for (const IndexMember& member : members) {
    if (member.descriptor)
      index.manifests.push_back(*member.descriptor);
    else
      index.annotations[fmt::format("{}{}", left_out_annotation, member.platform.meta_package)] =
          text::public_text(member.error->what());
  }
  return index;
}

std::vector<std::string> index_warnings(const std::vector<IndexMember>& members) {
  std::vector<std::string> warnings;
  for (const IndexMember& member : members) {
    if (member.error)
      warnings.push_back(fmt::format("left out for {}: {}", member.platform.meta_package, member.error->what()));
    else
      for (const std::string& warning : member.built->warnings)
        warnings.push_back(fmt::format("{}: {}", member.platform.meta_package, warning));
  }
  return warnings;
}

}  // namespace nixery::pipeline

#include "command/registry_parts.h"

#include <fmt/format.h>

#include "command/open_store.h"
#include "error.h"
#include "nix/download.h"
#include "os/file.h"
#include "plan/popularity.h"
#include "routes.h"
#include "text/public_text.h"
#include "text/url.h"

namespace nixery::command {

namespace {

plan::Popularity load_popularity(const std::string& place) {
  if (place.empty()) return {};
  if (place.starts_with("http://") || place.starts_with("https://")) {
    const http_client::Response answer = nix::get(place);
    if (answer.status != 200)
      throw Error(Failure::bad_config, fmt::format("NIX_POPULARITY_URL: HTTP status {} for {}", answer.status,
                                                   text::without_credentials(place)));
    return plan::parse_popularity(answer.body, "NIX_POPULARITY_URL");
  }
  const std::string file = place.starts_with("file://") ? place.substr(7) : place;
  const auto text = os::read_if_exists(file);
  if (!text) throw Error(Failure::bad_config, fmt::format("NIX_POPULARITY_URL: the file {} does not exist", file));
  return plan::parse_popularity(*text, "NIX_POPULARITY_URL");
}

pipeline::PipelineSettings pipeline_settings(const Config& config, metrics::Metrics& metrics, nix::BuildProbe& probe) {
  pipeline::PipelineSettings settings;
  settings.nix = config.nix;
  settings.local = config.local();
  settings.nix.attribute_names = config.local().attribute_names();
  settings.nix.scratch = config.state;
  settings.nix.evaluations = &metrics.evaluations;
  settings.nix.faults = &metrics.nix_faults;
  settings.nix.probe = &probe;
  settings.platforms = config.platforms;
  settings.format = config.format;
  settings.encoding = *layer::Encoding::parse(config.encoding);
  settings.max_layers = config.max_layers;
  settings.evaluations = config.evaluations;
  settings.documents = config.sbom;
  settings.builder_id = config.builder_id;
  if (!config.signing_key.empty()) settings.signing_key = attestations::SigningKey::from_file(config.signing_key);
  settings.signing_identity = config.signing_identity;
  settings.plan.popularity = load_popularity(config.popularity);
  return settings;
}

// Neither answers nor annotations of images name them.
void hide_directories_of(const Config& config) {
  std::vector<text::HiddenDirectory> directories = {{config.local().sources(), "<packages>"},
                                                    {config.state, "<state>"},
                                                    {config.tree, "<tree>"},
                                                    {config.nix.resolve_nix.parent_path(), "<nixery>"}};
  // A directory, or a repository on this machine.
  std::string_view location = config.source.location;
  if (location.starts_with("file://")) location.remove_prefix(7);
  if (location.starts_with('/')) directories.push_back({location, "<packages>"});
  if (!config.images.empty()) directories.push_back({config.images, "<images>"});
  text::hide_directories(directories);
}

const tree::BlobStore& prepared(const tree::BlobStore& store) {
  store.prepare();
  return store;
}

}  // namespace

RegistryParts::RegistryParts(const Config& given)
    : config(given),
      metrics(route_labels()),
      tree(open_store(config)),
      source(nix::make_source(config.source, config.local().sources())),
      probe({config.local().build_probe(), config.nix.substitute_only}),
      writer(prepared(tree.store()), {.threads = config.compressors}),
      pipeline(pipeline_settings(config, metrics, probe), tree, *source, writer, metrics),
      declared(config.images) {
  hide_directories_of(config);
}

reference::Reference RegistryParts::find(std::string_view name_and_tag) {
  const auto [name, tag] = reference::split_tag(name_and_tag);
  return pipeline::find_reference(*declared.current(), name, tag);
}

bool RegistryParts::has_attribute(const reference::AttributePath& path, const std::stop_token& stop) const {
  try {
    nix::resolve(pipeline.settings().nix, source->fetch(source->find("latest", stop), stop), {path},
                 config.platforms.front(), {{}, stop});
    return true;
  } catch (const Error& error) {
    switch (error.failure()) {
      case Failure::not_a_package:
      case Failure::unsupported_platform:
      case Failure::unfree:
      case Failure::insecure:
      case Failure::broken: return true;
      default: return false;
    }
  }
}

}  // namespace nixery::command

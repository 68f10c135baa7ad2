#include "pipeline/keys.h"

#include <fmt/format.h>

#include "attestations/artifact.h"

namespace nixery::pipeline {

std::string build_key(const reference::Reference& reference) {
  image::KeyBuilder key("build");
  key.add(reference.tag)
      .add(reference.platform ? reference.platform->nix_system : "")
      .add(reference.encoding.value_or(""))
      .add(reference.has_shell ? "shell" : "")
      .add(reference.declaration_hash());
  for (const auto& package : reference.packages) key.add(package.text);
  return key.finish();
}

std::string popularity_key(const plan::Popularity& popularity) {
  image::KeyBuilder key("popularity");
  for (const auto& [name, count] : popularity) key.add(name).add(fmt::format("{}", count));
  return key.finish();
}

std::string image_key(const ResolvedImage& image, const PipelineSettings& settings, const std::string& popularity) {
  image::KeyBuilder key("image");
  key.add(fmt::format("{} {} {}", layer::format_version, plan::planner_version, layer::rootfs_version))
      .add(image.platform.nix_system)
      .add(image.encoding.name())
      .add(image::name_of(image::manifest_type(settings.format)))
      .add(fmt::format("{} {}", settings.max_layers, settings.plan.unit_size))
      .add(image.source.revision.id)
      .add(image.source.revision.url)
      .add(image.reference.has_shell ? "shell" : "");
  // Added only if it exists, so that the keys of other images stay the same.
  if (image.reference.declared) key.add("declared").add(image.reference.declared->hash);
  if (!settings.nix.nixpkgs.is_default()) key.add("nixpkgs").add(settings.nix.nixpkgs.fingerprint());
  key.add(popularity);
  key.add(settings.documents ? fmt::format("documents {} {}", attestations::format_version, settings.builder_id) : "");
  for (const nix::Package* package : image.contents()) {
    key.add(package->attribute).add(fmt::format("{}", package->priority)).add(package->main_program);
    key.add(package->description).add(package->homepage);
    for (const std::string& license : package->licenses) key.add(license);
    for (const nix::Output& output : package->outputs) key.add(output.path.str());
  }
  return key.finish();
}

std::string settings_key(const PipelineSettings& settings, const std::string& source, const std::string& popularity) {
  image::KeyBuilder key("settings");
  for (const reference::Platform& platform : settings.platforms) key.add(platform.nix_system);
  return key.add(image::name_of(image::manifest_type(settings.format)))
      .add(settings.encoding.name())
      .add(fmt::format("{} {}", settings.max_layers, settings.plan.unit_size))
      .add(popularity)
      .add(source)
      .add(settings.nix.nixpkgs.fingerprint())
      .add(settings.nix.blocked.str())
      .finish();
}

}  // namespace nixery::pipeline

#include "pipeline/image_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "error.h"
#include "layer/rootfs.h"
#include "os/file.h"
#include "os/lock.h"
#include "pipeline/attach.h"
#include "pipeline/compose.h"
#include "pipeline/layer_prefetch.h"
#include "tree/tree_lock.h"

namespace nixery::pipeline {

namespace {

std::vector<store::StorePath> output_paths(const std::vector<const nix::Package*>& packages) {
  std::vector<store::StorePath> paths;
  for (const nix::Package* package : packages)
    for (const nix::Output& output : package->outputs) paths.push_back(output.path);
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  return paths;
}

std::vector<layer::PackageOutput> outputs_of(const std::vector<nix::Package>& packages) {
  std::vector<layer::PackageOutput> outputs;
  for (const nix::Package& package : packages)
    for (const nix::Output& output : package.outputs) outputs.push_back({output.path, package.priority});
  return outputs;
}

std::optional<store::StorePath> certificates_of(const nix::Resolution& resolution) {
  if (!resolution.cacert || resolution.cacert->outputs.empty()) return std::nullopt;
  return resolution.cacert->outputs.front().path;
}

class EvaluationSlot {
 public:
  explicit EvaluationSlot(std::counting_semaphore<>& slots) : slots_(slots) { slots_.acquire(); }
  EvaluationSlot(const EvaluationSlot&) = delete;
  EvaluationSlot& operator=(const EvaluationSlot&) = delete;
  ~EvaluationSlot() { slots_.release(); }

 private:
  std::counting_semaphore<>& slots_;
};

layer::Encoding encoding_of(const reference::Reference& reference, const PipelineSettings& settings) {
  layer::Encoding encoding = settings.encoding;
  if (reference.encoding)
    encoding.codec = *reference.encoding == "zstd" ? layer::Encoding::Codec::zstd : layer::Encoding::Codec::gzip;
  if (!encoding.media_type(settings.format == image::Format::docker))
    throw Error(Failure::bad_name,
                "this registry serves docker's manifest format, which has no zstd layers: leave 'zstd/' out");
  return encoding;
}

}  // namespace

std::vector<const store::PathInfo*> paths_of(const plan::Layer& layer, const store::Closure& closure) {
  std::vector<const store::PathInfo*> paths;
  for (const auto index : layer.paths) paths.push_back(&closure.paths[index]);
  return paths;
}

layer::Rootfs root_of(const ResolvedImage& image, const store::Closure& closure) {
  return layer::plan_rootfs(outputs_of(image.resolution.packages), certificates_of(image.resolution), closure);
}

std::vector<const nix::Package*> ResolvedImage::contents() const {
  std::vector<const nix::Package*> packages;
  for (const nix::Package& package : resolution.packages) packages.push_back(&package);
  if (resolution.cacert) packages.push_back(&*resolution.cacert);
  return packages;
}

nix::PinnedSource ImagePipeline::pin(const reference::Reference& reference, Progress& progress,
                                     const std::stop_token& stop) const {
  progress.enter(Phase::resolving);
  const metrics::Timer timer(metrics_.source);
  return source_.fetch(source_.find(reference.source_tag(), stop), stop);
}

ResolvedImage ImagePipeline::resolve(const reference::Reference& reference, nix::PinnedSource source,
                                     Progress& progress, const nix::ProcessObserver& nix) const {
  progress.enter(Phase::resolving);
  const auto platform = reference.platform.value_or(settings_.platforms.front());
  const auto encoding = encoding_of(reference, settings_);
  auto resolution = [&] {
    const EvaluationSlot slot(evaluations_);
    return nix::resolve(settings_.nix, source, reference.packages, platform, nix);
  }();
  ResolvedImage image{reference, platform, encoding, std::move(source), std::move(resolution), {}};
  image.key = image_key(image);
  return image;
}

ImagePipeline::ImagePipeline(PipelineSettings settings, const tree::Tree& tree, nix::Source& source,
                             layer::Writer& writer, metrics::Metrics& metrics)
    : settings_(std::move(settings)),
      tree_(tree),
      source_(source),
      writer_(writer),
      metrics_(metrics),
      evaluations_(settings_.evaluations) {
  image::KeyBuilder key("popularity");
  for (const auto& [name, count] : settings_.plan.popularity) key.add(name).add(fmt::format("{}", count));
  popularity_key_ = key.finish();

  image::KeyBuilder all("settings");
  for (const reference::Platform& platform : settings_.platforms) all.add(platform.nix_system);
  settings_key_ = all.add(image::name_of(image::manifest_type(settings_.format)))
                      .add(settings_.encoding.name())
                      .add(fmt::format("{} {}", settings_.max_layers, settings_.plan.unit_size))
                      .add(popularity_key_)
                      .add(source_.config_fingerprint())
                      .add(settings_.nix.allow_unfree ? "unfree" : "")
                      .add(fmt::format("{}", fmt::join(settings_.nix.blocked, " ")))
                      .finish();
}

std::string ImagePipeline::image_key(const ResolvedImage& image) const {
  image::KeyBuilder key("image");
  key.add(fmt::format("{} {}", layer::format_version, plan::planner_version))
      .add(image.platform.nix_system)
      .add(image.encoding.name())
      .add(image::name_of(image::manifest_type(settings_.format)))
      .add(fmt::format("{} {}", settings_.max_layers, settings_.plan.unit_size))
      .add(image.source.revision.id)
      .add(image.source.revision.url)
      .add(image.reference.has_shell ? "shell" : "");
  // Only where there is one, so that the keys of all other images stay what they were.
  if (image.reference.declared) key.add("declared").add(image.reference.declared->hash);
  key.add(popularity_key_);
  key.add(settings_.documents ? fmt::format("documents {} {}", attestations::format_version, settings_.builder_id)
                              : "");
  for (const nix::Package* package : image.contents()) {
    key.add(package->attribute).add(fmt::format("{}", package->priority)).add(package->main_program);
    key.add(package->description).add(package->homepage);
    for (const std::string& license : package->licenses) key.add(license);
    for (const nix::Output& output : package->outputs) key.add(output.path.str());
  }
  return key.finish();
}

LayeredClosure ImagePipeline::plan(const ResolvedImage& image, const std::stop_token& stop) const {
  LayeredClosure layered{nix::closure_of(output_paths(image.contents()), stop), {}, {}};
  layered.layers = plan::plan_layers(layered.closure, plan_settings());
  if (layered.layers.size() == settings_.max_layers)
    for (std::size_t i = 0; i < layered.layers.size(); ++i)
      if (layered.layers[i].left_over) layered.with_root = i;
  return layered;
}

plan::Settings ImagePipeline::plan_settings() const {
  plan::Settings settings = settings_.plan;
  settings.max_layers = settings_.max_layers;
  return settings;
}

BuiltImage ImagePipeline::build(const reference::Reference& reference, nix::PinnedSource source, Progress& progress,
                                const nix::ProcessObserver& nix) const {
  const ResolvedImage image = [&] {
    const metrics::Timer timer(metrics_.resolve);
    return resolve(reference, std::move(source), progress, nix);
  }();

  // The same packages of the same revision, asked for under another name or tag.
  const fs::path known = tree_.layout().image(image.key);
  if (const auto hex = os::read_if_exists(known))
    if (const auto digest = image::Digest::parse_hex(*hex); digest && tree_.touch_manifest(*digest))
      return {*digest, image.source.revision, {}, true};

  // Until the image stands for them, nobody sweeps nix's roots (maintenance/orphans.h).
  const os::Lock roots(tree_.layout().lock(image.key), os::Lock::Mode::shared);
  progress.enter(Phase::realising);
  const plan::Settings plan = plan_settings();
  {
    const metrics::Timer timer(metrics_.realise);
    const LayerPrefetch meanwhile(image.contents(), image.encoding, plan, writer_);
    nix::realise(settings_.nix, image.contents(), tree_.layout().gc_root(image.key, 0), nix);
  }
  BuiltImage built = layer_and_publish(image, progress, nix.stop);
  os::write_file(known, built.manifest.hex(), false);
  return built;
}

BuiltImage ImagePipeline::layer_and_publish(const ResolvedImage& image, Progress& progress,
                                            const std::stop_token& stop) const {
  std::optional<metrics::Timer> timer(metrics_.layer);
  const auto [closure, layers, with_root] = plan(image, stop);

  progress.enter(Phase::layering);
  const tree::SharedTreeLock hold(tree_.layout());  // until the manifest leads to the layers that are there already
  const layer::Rootfs root = root_of(image, closure);
  std::vector<layer::Contents> contents;
  for (const plan::Layer& layer : layers) contents.push_back({{}, paths_of(layer, closure)});
  if (!with_root) contents.emplace_back();
  contents[with_root.value_or(layers.size())].entries = root.entries;
  progress.total(contents.size(), closure.nar_size());
  const auto blobs =
      writer_
          .write(contents, image.encoding,
                 [&](const layer::Progress& written) { progress.layering(written.layers_done, written.bytes_done); })
          .layers;

  progress.enter(Phase::publishing);
  timer.emplace(metrics_.publish);
  const Facts facts{image.reference,           image.platform, image.source.revision,
                    image.resolution.packages, root.programs,  root.has_certificates};
  std::vector<image::ConfigLayer> config_layers;
  image::Manifest manifest{
      settings_.format, {image::config_type(settings_.format), image::Digest::of(""), 0, {}, {}}, {}, describe(facts)};
  const auto layer_type = *image.encoding.media_type(settings_.format == image::Format::docker);
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    const std::string reason = i == layers.size() ? "root file system"
                               : i == with_root   ? "root file system and " + layers[i].reason
                                                  : layers[i].reason;
    config_layers.push_back({blobs[i].diff_id, reason});
    manifest.layers.push_back({layer_type, blobs[i].digest, blobs[i].size, {}, {}});
  }
  const std::string config = image::to_json(compose_config(facts, std::move(config_layers)));
  manifest.config.digest = tree_.publish_blob(config);
  manifest.config.size = config.size();
  const std::string bytes = image::to_json(manifest);
  const image::MediaType type = image::manifest_type(settings_.format);
  const auto digest = tree_.publish_manifest(bytes, type);
  if (settings_.documents)
    attach_documents(tree_,
                     {image.reference.repository,
                      image.reference.tag,
                      {type, digest, bytes.size(), {}, {}},
                      platform_name(image.platform),
                      image.resolution,
                      image.source.revision,
                      closure},
                     settings_.builder_id);
  return {digest, image.source.revision, root.warnings, false};
}

}  // namespace nixery::pipeline

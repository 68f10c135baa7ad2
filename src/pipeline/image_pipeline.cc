#include "pipeline/image_pipeline.h"

#include <fmt/format.h>

#include <future>
#include <optional>

#include "cause.h"
#include "error.h"
#include "os/usage.h"
#include "pipeline/attach.h"
#include "pipeline/compose.h"
#include "pipeline/keys.h"
#include "pipeline/layer_prefetch.h"
#include "tree/records.h"

namespace nixery::pipeline {

namespace {

constexpr int max_attempts = 3;  // if collections remove layers before the manifest refers to them
constexpr std::chrono::milliseconds slot_poll{100};

class EvaluationSlot {
 public:
  EvaluationSlot(std::counting_semaphore<>& slots, const std::stop_token& stop) : slots_(slots) {
    while (!slots_.try_acquire_for(slot_poll))
      if (stop.stop_requested()) throw Error(Failure::unavailable, "the registry is shutting down: try again");
  }
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

ImagePipeline::ImagePipeline(PipelineSettings settings, const tree::Tree& tree, nix::Source& source,
                             layer::Writer& writer, metrics::Metrics& metrics)
    : settings_(std::move(settings)),
      tree_(tree),
      source_(source),
      writer_(writer),
      metrics_(metrics),
      popularity_key_(popularity_key(settings_.plan.popularity)),
      tags_(settings_, settings_key(settings_, source_.config_fingerprint(), popularity_key_), tree_),
      evaluations_(settings_.evaluations) {}

BuiltImage ImagePipeline::run(const reference::Reference& reference, Progress& progress, const std::stop_token& stop,
                              ExistingTag existing) const {
  const std::string key = build_key(reference);
  const auto lock = tree_.store().lock(key, stop);
  if (existing == ExistingTag::is_good_enough)
    if (const auto record = tags_.current(reference))
      return {*image::Digest::parse(record->manifest), {record->revision, {}, record->moving}, {}, true};

  const os::FreedMemoryRelease release;
  const BuildLog log(tree_.store(), settings_.local, key);
  try {
    const nix::PinnedSource source = pin(reference, progress, stop);
    const bool is_index = !reference.platform && settings_.platforms.size() > 1;
    for (int attempt = 0; attempt < max_attempts; ++attempt) {
      const auto built = is_index ? build_index(reference, source, progress, log, stop)
                                  : build(reference, source, progress, log.observe(progress, stop));
      if (!built) continue;
      for (const std::string& warning : built->warnings) log.line("warning: " + warning);
      return *built;
    }
    throw Error(Failure::unavailable, "collections removed parts of the image before it had its tag: try again");
  } catch (const Error& error) {
    // Requests that were refused or failed before Nix printed a line leave no file, because their names are unlimited
    // in number.
    if (!log.is_empty() || !(is_refusal(error.failure()) || error.transient()))
      log.line(fmt::format("{}: {}", name_of(error.failure()), error.what()));
    throw;
  }
}

std::optional<BuiltImage> ImagePipeline::build(const reference::Reference& reference, const nix::PinnedSource& source,
                                               Progress& progress, const nix::ProcessObserver& observer) const {
  const PreparedImage prepared = prepare(reference, source, progress, observer);
  const tree::SharedTreeLock lock(tree_.store(), observer.stop);
  progress.enter(Phase::publishing);
  const auto built = publish(prepared);
  if (built) tags_.publish(reference, *built, lock, observer.stop);
  return built;
}

// One platform: everything but what is published under a SharedTreeLock.
ImagePipeline::PreparedImage ImagePipeline::prepare(const reference::Reference& reference, nix::PinnedSource source,
                                                    Progress& progress, const nix::ProcessObserver& observer) const {
  PreparedImage prepared{[&] {
    const metrics::Timer timer(metrics_.resolve);
    return resolve(reference, std::move(source), progress, observer);
  }()};
  const ResolvedImage& image = prepared.image;

  // The same packages of the same revision may have been built under another name or tag.
  prepared.known = tree::read_image_record(tree_.store(), image.key);
  if (prepared.known && tree_.touch_manifest(*prepared.known)) return prepared;
  prepared.known.reset();

  prepared.roots = tree_.store().lock(image.key, observer.stop, tree::BlobStore::LockMode::shared);
  {
    const metrics::Timer timer(metrics_.realise);
    realise(image, progress, observer);
  }

  const metrics::Timer timer(metrics_.layer);
  prepared.layered = plan(image, observer.stop);
  prepared.root = root_of(image, prepared.layered.closure, observer.stop);
  prepared.layers = layer(prepared, progress, observer.stop);
  return prepared;
}

nix::PinnedSource ImagePipeline::pin(const reference::Reference& reference, Progress& progress,
                                     const std::stop_token& stop) const {
  progress.enter(Phase::resolving);
  const metrics::Timer timer(metrics_.source);
  return source_.fetch(source_.find(reference.source_tag(), stop), stop);
}

ResolvedImage ImagePipeline::resolve(const reference::Reference& reference, nix::PinnedSource source,
                                     Progress& progress, const nix::ProcessObserver& observer) const {
  progress.enter(Phase::resolving);
  const auto platform = reference.platform.value_or(settings_.platforms.front());
  const auto encoding = encoding_of(reference, settings_);
  auto resolution = [&] {
    const EvaluationSlot slot(evaluations_, observer.stop);
    return nix::resolve(settings_.nix, source, reference.packages, platform, observer);
  }();
  ResolvedImage image{reference, platform, encoding, std::move(source), std::move(resolution), {}};
  image.key = image_key(image, settings_, popularity_key_);
  return image;
}

void ImagePipeline::realise(const ResolvedImage& image, Progress& progress,
                            const nix::ProcessObserver& observer) const {
  progress.enter(Phase::realising);
  const plan::Settings plan = plan_settings();
  const LayerPrefetch meanwhile(image.contents(), image.encoding, plan, writer_, observer.stop);
  nix::realise(settings_.nix, image.contents(), settings_.local.gc_roots(image.key), observer);
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

std::vector<layer::LayerBlob> ImagePipeline::layer(const PreparedImage& prepared, Progress& progress,
                                                   const std::stop_token& stop) const {
  progress.enter(Phase::layering);
  const LayeredClosure& layered = prepared.layered;
  std::vector<layer::Contents> contents;
  for (const plan::Layer& layer : layered.layers) contents.push_back({{}, paths_of(layer, layered.closure)});
  if (!layered.with_root) contents.emplace_back();
  contents[layered.with_root.value_or(layered.layers.size())].entries = prepared.root.entries;
  progress.total(contents.size(), layered.closure.nar_size());
  const auto report = [&](const layer::WriteProgress& written) {
    progress.layering(written.layers_done, written.bytes_done);
  };
  return writer_.write(contents, prepared.image.encoding, report, stop).layers;
}

// The caller holds a SharedTreeLock until something refers to the image.
std::optional<BuiltImage> ImagePipeline::publish(const PreparedImage& prepared) const {
  const nix::Revision& revision = prepared.image.source.revision;
  if (prepared.known) {
    if (!tree_.touch_manifest(*prepared.known)) return std::nullopt;
    return BuiltImage{*prepared.known, revision, {}, true};
  }
  for (const layer::LayerBlob& layer : prepared.layers)
    if (!tree_.store().touch(tree::ObjectName::blob(layer.digest))) return std::nullopt;
  const metrics::Timer timer(metrics_.publish);
  const Published published = publish_manifest(prepared);
  attest(prepared, published);
  tree::write_image_record(tree_.store(), prepared.image.key, published.manifest);
  return BuiltImage{published.manifest, revision, prepared.root.warnings, false};
}

ImagePipeline::Published ImagePipeline::publish_manifest(const PreparedImage& prepared) const {
  const auto& [image, known, roots, layered, root, blobs] = prepared;
  const Facts facts{image.reference,           image.platform, image.source.revision,
                    image.resolution.packages, root.programs,  root.has_certificates};
  std::vector<image::ConfigLayer> config_layers;
  image::Manifest manifest{
      settings_.format, {image::config_type(settings_.format), image::Digest::of(""), 0, {}, {}}, {}, describe(facts)};
  const auto layer_type = *image.encoding.media_type(settings_.format == image::Format::docker);
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    const std::string reason = i == layered.layers.size() ? "root file system"
                               : i == layered.with_root   ? "root file system and " + layered.layers[i].reason
                                                          : layered.layers[i].reason;
    config_layers.push_back({blobs[i].diff_id, reason});
    manifest.layers.push_back({layer_type, blobs[i].digest, blobs[i].size, {}, {}});
  }
  const std::string config = image::to_json(compose_config(facts, std::move(config_layers)));
  manifest.config.digest = tree_.publish_blob(config);
  manifest.config.size = config.size();
  const std::string bytes = image::to_json(manifest);
  return {tree_.publish_manifest(bytes, image::manifest_type(settings_.format)), bytes.size()};
}

void ImagePipeline::attest(const PreparedImage& prepared, const Published& published) const {
  if (!settings_.documents) return;
  const ResolvedImage& image = prepared.image;
  attach_documents(tree_,
                   {image.reference.repository,
                    image.reference.tag,
                    {image::manifest_type(settings_.format), published.manifest, published.size, {}, {}},
                    platform_name(image.platform),
                    image.resolution,
                    image.source.revision,
                    prepared.layered.closure,
                    settings_.nix.nixpkgs},
                   settings_.builder_id);
}

// Several platforms: the same steps for each, in parallel and from one revision, and an index of the results.
std::optional<BuiltImage> ImagePipeline::build_index(const reference::Reference& reference,
                                                     const nix::PinnedSource& source, Progress& progress,
                                                     const BuildLog& log, const std::stop_token& stop) const {
  const auto prepared = prepare_members(reference, source, progress, log, stop);
  std::vector<IndexMember> members;
  const tree::SharedTreeLock lock(tree_.store(), stop);
  progress.enter(Phase::publishing);
  for (const PreparedMember& member : prepared) {
    IndexMember& listed = members.emplace_back(IndexMember{member.platform, {}, member.error});
    if (!member.image) continue;
    if (!(listed.built = publish(*member.image))) return std::nullopt;
    const auto stored = tree_.manifest(listed.built->manifest);
    if (!stored) return std::nullopt;
    listed.descriptor = {stored->type, stored->digest, stored->bytes.size(), {}, platform_name(member.platform)};
  }
  const image::Index index = compose_index(settings_.format, source.revision, members);
  const BuiltImage whole{tree_.publish_manifest(image::to_json(index), image::index_type(index.format)),
                         source.revision, index_warnings(members), false};
  tags_.publish(reference, whole, lock, stop);
  return whole;
}

std::vector<ImagePipeline::PreparedMember> ImagePipeline::prepare_members(const reference::Reference& reference,
                                                                          const nix::PinnedSource& source,
                                                                          Progress& progress, const BuildLog& log,
                                                                          const std::stop_token& stop) const {
  MembersProgress members_progress(progress, settings_.platforms);
  const auto prepare_member = [&, cause = current_cause()](std::size_t number) {
    const CauseScope scope(cause);
    reference::Reference wanted = reference;
    wanted.platform = settings_.platforms[number];
    Progress member_progress(members_progress.listener(number));
    try {
      // A client may pull it by its own name.
      const auto lock = tree_.store().lock(build_key(wanted), stop);
      const auto observer = log.observe(member_progress, stop, fmt::format("{}: ", wanted.platform->meta_package));
      return PreparedMember{*wanted.platform, prepare(wanted, source, member_progress, observer), {}};
    } catch (const Error& error) {
      // A transient failure must not leave a platform out of the index, because nothing would add it later.
      if (error.transient() || error.failure() == Failure::timed_out) throw;
      return PreparedMember{*wanted.platform, {}, error};
    }
  };

  std::vector<std::future<PreparedMember>> preparing;
  for (std::size_t i = 0; i < settings_.platforms.size(); ++i)
    preparing.push_back(std::async(std::launch::async, prepare_member, i));
  for (auto& each : preparing) each.wait();  // all, before an exception is rethrown
  std::vector<PreparedMember> members;
  for (auto& each : preparing) members.push_back(each.get());
  if (std::all_of(members.begin(), members.end(), [](const PreparedMember& member) { return !member.image; }))
    throw *members.front().error;
  return members;
}

}  // namespace nixery::pipeline

#include "pipeline/builder.h"

#include <fmt/format.h>

#include "layer/recipe.h"
#include "log.h"
#include "os/lock.h"
#include "os/usage.h"
#include "pipeline/build_log.h"
#include "pipeline/keys.h"
#include "tree/failures.h"
#include "tree/records.h"

namespace nixery::pipeline {

namespace {

// A wrong request is not logged above debug: a client that tries random names must not fill the log.
log::Level level_of(Failure failure) {
  if (is_refusal(failure)) return log::Level::debug;
  return failure == Failure::storage || failure == Failure::corrupt ? log::Level::error : log::Level::warning;
}

std::string name_of(const reference::Reference& reference) {
  return fmt::format("{}:{}", reference.repository, reference.tag);
}

// Returns the result of `work`. Reports failures to `failed`, for the log. An unexpected exception, such as of the file
// system, becomes Error{storage}, because its text may contain paths.
template <class Work, class Failed>
BuildResult attempt(Progress& progress, const Work& work, const Failed& failed) {
  const struct Finish {
    Progress& progress;
    ~Finish() { progress.enter(Phase::finished); }
  } finish{progress};
  try {
    return work();
  } catch (const Error& error) {
    failed(error, error.what());
    throw;
  } catch (const std::exception& error) {
    Error unforeseen(Failure::storage, "the registry failed at this: its log says why", error.what());
    failed(unforeseen, error.what());
    throw unforeseen;
  }
}

}  // namespace

Builder::Builder(const ImagePipeline& pipeline, const tree::Tree& tree, nix::Source& source, layer::Writer& writer,
                 DeclaredSet& declared, jobs::JobLimits limits)
    : pipeline_(pipeline), tree_(tree), source_(source), writer_(writer), declared_(declared), jobs_(limits) {}

std::shared_ptr<BuildJob> Builder::start(const reference::Reference& reference, std::string_view address) {
  const auto work = [this, reference](Progress& progress, const std::stop_token& stop) {
    return build(reference, progress, stop);
  };
  return submit(metrics().tags, address, build_key(reference), work,
                {name_of(reference), [this, reference](const BuildResult& result) { publish_tag(reference, result); }});
}

std::shared_ptr<BuildJob> Builder::submit(metrics::LookUps& look_ups, std::string_view address, const std::string& key,
                                          BuildQueue::Work work, BuildQueue::CompletionHook hook) {
  try {
    jobs::Submission how{};
    auto job = jobs_.submit(jobs::client_of_address(address), key, std::move(work), &how, std::move(hook));
    (how == jobs::Submission::started     ? look_ups.began
     : how == jobs::Submission::coalesced ? look_ups.joined
                                          : look_ups.remembered)
        .add();
    return job;
  } catch (const Error&) {
    look_ups.refused.add();
    throw;
  }
}

std::shared_ptr<BuildJob> Builder::job_of(const reference::Reference& reference) const {
  return jobs_.find(build_key(reference));
}

// For later requests. Neither transient failures nor wrong requests are recorded.
void Builder::remember_failure(const reference::Reference& reference, const Error& error) const {
  const Failure failure = error.failure();
  if (failure != Failure::evaluation_failed && failure != Failure::build_failed &&
      failure != Failure::package_too_large && failure != Failure::timed_out)
    return;
  try {
    tree::write_failure(
        tree_.store(), build_key(reference),
        {reference.repository, reference.tag, name_of(failure), error.what(),
         failure == Failure::build_failed ? error.detail() : "",
         std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
             .count()});
  } catch (const Error& unwritten) {
    log::warning("cannot keep a failure", {{"error", unwritten.what()}});
  }
}

BuildResult Builder::build(const reference::Reference& reference, Progress& progress, const std::stop_token& stop) {
  const auto name = name_of(reference);
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return fmt::format("{:.3f}", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  };
  const auto failed = [&](const Error& error, const char* why) {
    count_failure(error);
    log::write(level_of(error.failure()), "build failed",
               {{"reference", name},
                {"failure", name_of(error.failure())},
                {"error", why},
                {"log", build_key(reference)},
                {"seconds", seconds()}});
    remember_failure(reference, error);
  };
  const auto work = [&]() -> BuildResult {
    const auto built = pipeline_.run(reference, progress, stop, ExistingTag::is_good_enough);
    // Catches changes of declarations before the tag was published; later changes find the tag.
    pipeline_.tags().drop_if_outdated(*declared_.current(), reference);
    tree::remove_failure(tree_.store(), build_key(reference));
    if (built.found) {
      metrics().found.add();
    } else {
      metrics().built.add();
      metrics().build_duration.observe(std::chrono::steady_clock::now() - start);
    }
    log::info("image built", {{"reference", name},
                              {"manifest", built.manifest.str()},
                              {"revision", built.revision.id},
                              {"found", built.found ? "yes" : "no"},
                              {"log", build_key(reference)},
                              {"seconds", seconds()}});
    return {built.manifest, built.revision.id, built.revision.moving};
  };
  return attempt(progress, work, failed);
}

// For clients with another spelling than the one that started the job.
void Builder::publish_tag(const reference::Reference& reference, const BuildResult& result) const {
  try {
    const BuiltImage image{result.digest, {result.revision, {}, result.moving}, {}, true};
    {
      const tree::SharedTreeLock lock(tree_.store(), jobs_.stop_token());
      if (!tree_.touch_manifest(image.manifest))
        throw Error(Failure::unavailable, "the image was removed before it had this tag");
      pipeline_.tags().publish(reference, image, lock, jobs_.stop_token());
    }
    pipeline_.tags().drop_if_outdated(*declared_.current(), reference);
  } catch (const std::exception& error) {
    // The image is in the tree; the next pull of this name reaches a worker again.
    log::warning("tag not published", {{"reference", name_of(reference)}, {"error", error.what()}});
  }
}

bool Builder::tag_matches(const reference::Reference& reference) const {
  return pipeline_.tags().matches(reference);
}

std::size_t Builder::drop_outdated_tags() {
  return pipeline_.tags().drop_outdated(*declared_.current());
}

std::size_t Builder::refresh() {
  return pipeline_.tags().drop_damaged() + pipeline_.tags().drop_moved(source_, jobs_.stop_token());
}

std::filesystem::path Builder::log_of(const reference::Reference& reference) const {
  return pipeline_.settings().local.log(build_key(reference));
}

bool Builder::can_rebuild(const image::Digest& blob) const {
  return layer::can_rebuild(tree_.store(), blob);
}

std::shared_ptr<BuildJob> Builder::start_rebuilding(const image::Digest& blob, std::string_view address) {
  const std::string key = image::KeyBuilder("rebuild").add(blob.hex()).finish();
  return submit(metrics().blobs, address, key, [this, key, blob](Progress& progress, const std::stop_token& stop) {
    const auto failed = [&](const Error& error, const char* why) {
      count_failure(error);
      log::warning("blob not rebuilt",
                   {{"digest", blob.str()}, {"failure", name_of(error.failure())}, {"error", why}, {"log", key}});
    };
    return attempt(
        progress, [&] { return rebuild(key, blob, progress, stop); }, failed);
  });
}

void Builder::count_failure(const Error& error) const {
  metrics().failed[static_cast<std::size_t>(error.failure())].add();
}

BuildResult Builder::rebuild(const std::string& key, const image::Digest& blob, Progress& progress,
                             const std::stop_token& stop) {
  const auto lock = tree_.store().lock(key, stop);
  const BuildResult there{blob, {}, false};
  if (tree_.has_blob(blob)) {
    metrics().found.add();
    return there;
  }
  const os::FreedMemoryRelease release;
  const auto recipe = layer::read_recipe(tree_.store(), blob);
  if (!recipe)
    throw Error(Failure::unknown_blob, fmt::format("no blob {} here, and nothing to rebuild it from", blob.str()));
  std::vector<store::StorePath> paths;
  for (const layer::Segment& segment : recipe->segments)
    if (auto path = store::StorePath::parse(segment.path)) paths.push_back(*std::move(path));

  const BuildLog log(tree_.store(), pipeline_.settings().local, key);
  progress.enter(Phase::realising);
  if (!paths.empty()) nix::realise_paths(pipeline_.settings().nix, paths, log.observe(progress, stop));
  progress.enter(Phase::layering);
  writer_.rebuild(blob, stop);
  metrics().built.add();
  log::info("blob rebuilt", {{"digest", blob.str()}});
  return there;
}

}  // namespace nixery::pipeline

#include "pipeline/builder.h"
#include "pipeline/build_log.h"

#include <fmt/format.h>

#include <map>

#include "log.h"
#include "os/lock.h"
#include "pipeline/tagged_build.h"
#include "tree/failures.h"
#include "tree/records.h"

namespace nixery::pipeline {

namespace {

// What was only asked for wrongly is no news: whoever tries names at random fills no log.
log::Level level_of(Failure failure) {
  switch (failure) {
    case Failure::bad_name:
    case Failure::bad_tag:
    case Failure::unknown_tag:
    case Failure::unknown_package:
    case Failure::not_a_package:
    case Failure::unsupported_platform:
    case Failure::forbidden: return log::Level::debug;
    case Failure::storage:
    case Failure::corrupt: return log::Level::error;
    default: return log::Level::warning;
  }
}

std::string name_of(const reference::Reference& reference) {
  return fmt::format("{}:{}", reference.repository, reference.tag);
}

// What `work` lands with. Tells `failed` why it did not, for the log. What nobody foresaw, such as a file system's
// refusal, is an Error{storage} for all others: its words name paths.
template <class Work, class Failed>
JobResult attempt(const Work& work, const Failed& failed) {
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
                 DeclaredSet& declared, JobLimits limits)
    : pipeline_(pipeline), tree_(tree), source_(source), writer_(writer), declared_(declared), jobs_(limits) {}

Builder::~Builder() {
  stop();
}

std::shared_ptr<Job> Builder::start(const reference::Reference& reference, std::string_view address) {
  const auto work = [this, reference](Progress& progress) { return build(reference, progress); };
  return submit(metrics().tags, address, build_key(reference), work,
                {name_of(reference), [this, reference](const JobResult& result) { publish_tag(reference, result); }});
}

std::shared_ptr<Job> Builder::submit(metrics::LookUps& look_ups, std::string_view address, const std::string& key,
                                   Work work, CompletionHook hook) {
  try {
    Submission how{};
    auto job = jobs_.submit(client_of_address(address), key, std::move(work), &how, std::move(hook));
    (how == Submission::started     ? look_ups.began
     : how == Submission::coalesced ? look_ups.joined
                                    : look_ups.remembered)
        .add();
    return job;
  } catch (const Error&) {
    look_ups.refused.add();
    throw;
  }
}

std::shared_ptr<Job> Builder::job_of(const reference::Reference& reference) const {
  return jobs_.find(build_key(reference));
}

// For whoever asks later. Not what passes, and not what was only asked for wrongly.
void Builder::remember_failure(const reference::Reference& reference, const Error& error) const {
  const Failure failure = error.failure();
  if (failure != Failure::evaluation_failed && failure != Failure::build_failed && failure != Failure::timed_out)
    return;
  try {
    tree::write_failure(
        tree_.layout(), build_key(reference),
        {reference.repository, reference.tag, name_of(failure), error.what(),
         failure == Failure::build_failed ? error.detail() : "",
         std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
             .count()});
  } catch (const Error& unwritten) {
    log::warning("cannot keep a failure", {{"error", unwritten.what()}});
  }
}

JobResult Builder::build(const reference::Reference& reference, Progress& progress) {
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
  const auto work = [&]() -> JobResult {
    const auto built =
        build_with_tag(pipeline_, tree_, reference, progress, stop_.get_token(), ExistingTag::is_good_enough);
    drop_if_changed(reference);
    tree::remove_failure(tree_.layout(), build_key(reference));
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
    return {built.manifest, built.revision.id, built.revision.moving, nullptr};
  };
  return attempt(work, failed);
}

// For those who joined a job that began under another spelling.
void Builder::publish_tag(const reference::Reference& reference, const JobResult& result) const {
  try {
    pipeline::publish_tag(pipeline_, tree_, reference, *result.digest, result.revision, result.moving);
    drop_if_changed(reference);
  } catch (const std::exception& error) {
    // The image is there, whose next pull under this name comes to a worker again.
    log::warning("tag not published", {{"reference", name_of(reference)}, {"error", error.what()}});
  }
}

// After the tag is there: whoever changes the declaration now finds it, and who changed it before is found here.
void Builder::drop_if_changed(const reference::Reference& reference) const {
  if (const auto record = tree::read_record(tree_.layout(), reference.repository, reference.tag))
    drop_if_outdated(pipeline_, tree_, *declared_.current(), *record);
}

bool Builder::tag_matches(const reference::Reference& reference) const {
  return pipeline::tag_matches(pipeline_, tree_, reference);
}

std::size_t Builder::drop_outdated_tags() {
  return pipeline::drop_outdated_tags(pipeline_, tree_, *declared_.current());
}

bool Builder::can_rebuild(const image::Digest& blob) const {
  return layer::can_rebuild(tree_.layout(), blob);
}

std::shared_ptr<Job> Builder::start_rebuilding(const image::Digest& blob, std::string_view address) {
  const std::string key = image::KeyBuilder("rebuild").add(blob.hex()).finish();
  return submit(metrics().blobs, address, key, [this, key, blob](Progress& progress) {
    const auto failed = [&](const Error& error, const char* why) {
      count_failure(error);
      log::warning("blob not rebuilt",
                   {{"digest", blob.str()}, {"failure", name_of(error.failure())}, {"error", why}, {"log", key}});
    };
    return attempt([&] { return rebuild(key, blob, progress); }, failed);
  });
}

void Builder::count_failure(const Error& error) const {
  metrics().failed[static_cast<std::size_t>(error.failure())].add();
}

JobResult Builder::rebuild(const std::string& key, const image::Digest& blob, Progress& progress) {
  const os::Lock lock(tree_.layout().lock(key), stop_.get_token());
  const JobResult there{blob, {}, false, nullptr};
  if (tree_.has_blob(blob)) {
    metrics().found.add();
    return there;
  }
  const auto recipe = layer::read_recipe(tree_.layout(), blob);
  if (!recipe)
    throw Error(Failure::unknown_blob, fmt::format("no blob {} here, and nothing to rebuild it from", blob.str()));
  std::vector<store::StorePath> paths;
  for (const layer::Segment& segment : recipe->segments)
    if (auto path = store::StorePath::parse(segment.path)) paths.push_back(*std::move(path));

  const BuildLog log(tree_.layout().log(key));
  progress.enter(Phase::realising);
  if (!paths.empty()) nix::realise_paths(pipeline_.settings().nix, paths, log.attend(progress, stop_.get_token()));
  progress.enter(Phase::layering);
  writer_.rebuild(blob);
  metrics().built.add();
  log::info("blob rebuilt", {{"digest", blob.str()}});
  return there;
}

std::size_t Builder::refresh() {
  // Source tag -> the revision that it stands for now: empty where it is not served any more, nullopt where nobody
  // knows.
  std::map<std::string, std::optional<std::string>> current;
  std::vector<tree::TagRecord> stale;
  tree::for_each_record(tree_.layout(), [&](const tree::TagRecord& record) {
    if (!record.moving) return;
    auto known = current.find(record.source);
    if (known == current.end()) {
      std::optional<std::string> id;
      try {
        id = source_.find(record.source, stop_.get_token()).id;
      } catch (const Error& error) {
        // A source that cannot be asked leaves the images as they are; one that says no does not.
        if (error.failure() == Failure::unknown_tag || error.failure() == Failure::forbidden) {
          id.emplace();
        } else {
          log::warning("cannot refresh", {{"tag", record.source}, {"error", error.what()}});
        }
      }
      known = current.emplace(record.source, id).first;
    }
    if (known->second && *known->second != record.revision) stale.push_back(record);
  });
  for (const tree::TagRecord& record : stale) {
    tree_.drop_tag(record.repository, record.tag);
    tree::remove_record(tree_.layout(), record);
    log::info("tag dropped", {{"repository", record.repository}, {"tag", record.tag}, {"revision", record.revision}});
  }
  return stale.size();
}

}  // namespace nixery::pipeline

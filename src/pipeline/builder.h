// Builds as jobs: what the registry asks for.
#pragma once

#include <filesystem>
#include <memory>
#include <stop_token>

#include "jobs/job_queue.h"
#include "pipeline/declared_set.h"
#include "pipeline/image_pipeline.h"
#include "reference/reference.h"

namespace nixery::pipeline {

struct BuildResult {
  image::Digest digest;  // of the manifest, or of the rebuilt blob, that is in the tree now
  std::string revision;  // of the package set, for a manifest
  bool moving = false;   // whether its tag may stand for another revision later
};
using BuildQueue = jobs::JobQueue<BuildResult, Progress>;
using BuildJob = BuildQueue::JobType;

// Thread-safe.
class Builder {
 public:
  // All but `limits` must outlive this. Its destructor stops what runs.
  Builder(const ImagePipeline& pipeline, const tree::Tree& tree, nix::Source& source, layer::Writer& writer,
          DeclaredSet& declared, jobs::JobLimits limits);

  // Stops what Nix and git do for us, a refresh included, for good; builds are resumed when they are asked for again.
  void stop() { jobs_.stop(); }

  // The job that builds `reference` and publishes its tag, also where it began under another spelling of the same
  // image. `address` is of the client. Throws Error{too_busy}.
  std::shared_ptr<BuildJob> start(const reference::Reference& reference, std::string_view address);
  // The one that builds it, or failed to just now; null where there is none.
  std::shared_ptr<BuildJob> job_of(const reference::Reference& reference) const;

  // What a name stands for now: a declared image, or packages. Throws as find_reference().
  reference::Reference find(std::string_view repository, std::string_view tag) const {
    return find_reference(*declared_.current(), repository, tag);
  }
  // Whether the reference's tag, if there is one, is of what it means now.
  bool tag_matches(const reference::Reference& reference) const;
  // Drops the tags that are no longer meant by the declarations and the settings. How many.
  std::size_t drop_outdated_tags();

  // The file with what Nix printed when this host built the reference last; there may be none.
  std::filesystem::path log_of(const reference::Reference& reference) const;

  bool can_rebuild(const image::Digest& blob) const;
  std::shared_ptr<BuildJob> start_rebuilding(const image::Digest& blob, std::string_view address);

  // Looks whether the sources of moving tags have moved, or are not served any more, and drops the tags of those that
  // have or are not. How many.
  std::size_t refresh();

  std::size_t queued() const { return jobs_.queued(); }
  std::size_t running() const { return jobs_.running(); }
  metrics::Metrics& metrics() const { return pipeline_.metrics(); }

  // Waits until every job that was started has finished.
  void wait_until_idle() { jobs_.wait_until_idle(); }

 private:
  std::shared_ptr<BuildJob> submit(metrics::LookUps& look_ups, std::string_view address, const std::string& key,
                                   BuildQueue::Work work, BuildQueue::CompletionHook hook = {});
  void publish_tag(const reference::Reference& reference, const BuildResult& result) const;
  void count_failure(const Error& error) const;
  void remember_failure(const reference::Reference& reference, const Error& error) const;
  BuildResult build(const reference::Reference& reference, Progress& progress, const std::stop_token& stop);
  BuildResult rebuild(const std::string& key, const image::Digest& blob, Progress& progress,
                      const std::stop_token& stop);

  const ImagePipeline& pipeline_;
  const tree::Tree& tree_;
  nix::Source& source_;
  layer::Writer& writer_;
  DeclaredSet& declared_;
  BuildQueue jobs_;  // last: its threads use the rest
};

}  // namespace nixery::pipeline

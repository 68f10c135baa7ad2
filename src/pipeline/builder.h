// Builds as jobs, for the registry API.
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
  image::Digest digest;  // of the published manifest, or of the rebuilt blob
  std::string revision;  // of the package set, for a manifest
  bool moving = false;   // whether its tag can move to another revision
};
using BuildQueue = jobs::JobQueue<BuildResult, Progress>;
using BuildJob = BuildQueue::JobType;

// Thread-safe.
class Builder {
 public:
  // All arguments except `limits` must outlive it. The destructor stops running jobs.
  Builder(const ImagePipeline& pipeline, const tree::Tree& tree, nix::Source& source, layer::Writer& writer,
          DeclaredSet& declared, jobs::JobLimits limits);

  // Stops all Nix and git processes, including a refresh, permanently; builds resume with the next request.
  void stop() { jobs_.stop(); }

  // The job that builds `reference` and publishes its tag, even if it was started by another spelling of the same
  // image. `address` is the client's. Throws Error{too_busy}.
  std::shared_ptr<BuildJob> start(const reference::Reference& reference, std::string_view address);
  // The running or recently failed job; null if there is none.
  std::shared_ptr<BuildJob> job_of(const reference::Reference& reference) const;

  // Resolves a name: a declared image, or packages. Throws like find_reference().
  reference::Reference find(std::string_view repository, std::string_view tag) const {
    return find_reference(*declared_.current(), repository, tag);
  }
  // Whether the reference's tag, if it exists, is up to date.
  bool tag_matches(const reference::Reference& reference) const;
  // Drops tags that are outdated by declarations or settings. Returns their number.
  std::size_t drop_outdated_tags();

  // The file with what Nix printed when this host built the reference last; there may be none.
  std::filesystem::path log_of(const reference::Reference& reference) const;

  bool can_rebuild(const image::Digest& blob) const;
  std::shared_ptr<BuildJob> start_rebuilding(const image::Digest& blob, std::string_view address);

  // Drops moving tags whose source has moved or is not served any more. Returns their number.
  std::size_t refresh();

  std::size_t queued() const { return jobs_.queued(); }
  std::size_t running() const { return jobs_.running(); }
  metrics::Metrics& metrics() const { return pipeline_.metrics(); }

  // Waits until all started jobs have finished.
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

// Builds as jobs: what the registry asks for.
#pragma once

#include <memory>
#include <stop_token>

#include "pipeline/declared_set.h"
#include "pipeline/job_queue.h"
#include "pipeline/image_pipeline.h"
#include "reference/reference.h"

namespace nixery::pipeline {

// Thread-safe.
class Builder {
 public:
  Builder(const ImagePipeline& pipeline, const tree::Tree& tree, nix::Source& source, layer::Writer& writer,
          DeclaredSet& declared, JobLimits limits);
  ~Builder();  // stops

  // Stops what nix and git are doing for us, a refresh too; builds are resumed when they are asked for again. For good.
  void stop() { stop_.request_stop(); }

  // The job that builds `reference` and publishes its tag, also where it began under another spelling of the same
  // image. `address` is of the client. Throws Error{too_busy}.
  std::shared_ptr<Job> start(const reference::Reference& reference, std::string_view address);
  // The one that builds it, or failed to just now; null where there is none.
  std::shared_ptr<Job> job_of(const reference::Reference& reference) const;

  // What a name stands for now: a declared image, or packages. Throws as find_reference().
  reference::Reference find(std::string_view repository, std::string_view tag) const {
    return find_reference(*declared_.current(), repository, tag);
  }
  // Whether the reference's tag, if there is one, is of what it means now.
  bool tag_matches(const reference::Reference& reference) const;
  // Drops the tags that are no longer meant by the declarations and the settings. How many.
  std::size_t drop_outdated_tags();

  bool can_rebuild(const image::Digest& blob) const;
  std::shared_ptr<Job> start_rebuilding(const image::Digest& blob, std::string_view address);

  // Looks whether the sources of moving tags have moved, or are not served any more, and drops the tags of those that
  // have or are not. How many.
  std::size_t refresh();

  std::size_t queued() const { return jobs_.queued(); }
  std::size_t running() const { return jobs_.running(); }
  metrics::Metrics& metrics() const { return pipeline_.metrics(); }

  // Until every job that was begun has landed.
  void wait_until_idle() { jobs_.wait_until_idle(); }

 private:
  std::shared_ptr<Job> submit(metrics::LookUps& look_ups, std::string_view address, const std::string& key, Work work,
                            CompletionHook hook = {});
  void publish_tag(const reference::Reference& reference, const JobResult& result) const;
  void count_failure(const Error& error) const;
  void drop_if_changed(const reference::Reference& reference) const;
  void remember_failure(const reference::Reference& reference, const Error& error) const;
  JobResult build(const reference::Reference& reference, Progress& progress);
  JobResult rebuild(const std::string& key, const image::Digest& blob, Progress& progress);

  const ImagePipeline& pipeline_;
  const tree::Tree& tree_;
  nix::Source& source_;
  layer::Writer& writer_;
  DeclaredSet& declared_;
  std::stop_source stop_;
  JobQueue jobs_;  // last: its threads use the rest
};

}  // namespace nixery::pipeline

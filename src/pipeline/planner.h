// Queries the package set without building anything: plans of images, and package names.
//
// Evaluations are jobs of a separate queue, one at a time: they neither wait for builds nor delay them.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/job_queue.h"
#include "pipeline/image_pipeline.h"
#include "pipeline/plan_report.h"
#include "reference/reference.h"

namespace nixery::pipeline {

// A package's metadata from an evaluation.
struct PackageFacts {
  std::string version, description;
};

// Its jobs result in a report as JSON; empty for a look-up of names.
using PlanQueue = jobs::JobQueue<std::string, Progress>;
using PlanJob = PlanQueue::JobType;

// Thread-safe.
class Planner {
 public:
  Planner(const ImagePipeline& pipeline, const tree::Tree& tree, nix::Source& source, jobs::JobLimits limits);

  // The job whose report is {"reference":…,"plans":[…]}, one plan for each platform of the image. Throws
  // Error{too_busy}.
  std::shared_ptr<PlanJob> start_plan(const reference::Reference& reference, std::string_view address);

  struct Matches {
    std::vector<std::string> names;  // in the spelling of image names: "python3packages.requests"
    bool more = false;               // more exist
    // The look-up job if the names are unknown or old. May be null.
    std::shared_ptr<PlanJob> lookup;
    bool known = false;
  };
  // At most `count` packages of tag latest: first those that begin with `text`, then those that contain it, shortest
  // first. "set.text" searches in the set. Throws Error{too_busy, bad_query}.
  Matches search(std::string_view text, std::size_t count, std::string_view address);

  // Known only from plans made since this process started.
  PackageFacts facts_of(const std::string& name) const;

 private:
  struct Names {
    std::shared_ptr<const std::vector<std::string>> list;  // ascending; the last components, lower case
    std::chrono::steady_clock::time_point learnt;
  };
  std::string plan(const reference::Reference& reference, Progress& progress, const std::stop_token& stop);
  void list(const std::string& set, Progress& progress, const std::stop_token& stop);
  std::vector<std::string> names_of(const nix::PinnedSource& source, const std::string& set,
                                    const std::stop_token& stop) const;
  std::vector<std::string> pullable(const std::string& set, const std::vector<std::string>& names) const;
  void learn_facts(const ResolvedImage& image);

  const ImagePipeline& pipeline_;
  const tree::Tree& tree_;
  nix::Source& source_;
  mutable std::mutex mutex_;            // guards what follows, but for jobs_
  std::map<std::string, Names> names_;  // by set
  std::map<std::string, PackageFacts> facts_;
  PlanQueue jobs_;  // last: its threads use the rest
};

}  // namespace nixery::pipeline

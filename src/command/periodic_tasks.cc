#include "command/periodic_tasks.h"

#include <algorithm>

#include "log.h"
#include "maintenance/collect.h"
#include "maintenance/last_run.h"
#include "maintenance/last_use.h"

namespace nixery::command {

PeriodicTask::PeriodicTask(std::chrono::seconds first, std::chrono::seconds every, std::string failing,
                           std::function<void()> work)
    : first_(first), every_(every), failing_(std::move(failing)), work_(std::move(work)) {
  if (every_.count() > 0) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void PeriodicTask::run(const std::stop_token& stop) const {
  std::unique_lock lock(mutex_);
  auto wait = first_;
  while (!stopped_.wait_for(lock, stop, wait, [&] { return stop.stop_requested(); })) {
    wait = every_;
    try {
      work_();
    } catch (const std::exception& error) {
      log::warning(failing_, {{"error", error.what()}});
    }
  }
}

PeriodicTask refreshing(pipeline::Builder& builder, std::chrono::seconds every) {
  return {every, every, "cannot refresh", [&builder] { builder.refresh(); }};
}

PeriodicTask collecting(const Config& config, const tree::BlobStore& store) {
  const auto every = config.gc_interval;
  const auto first = every.count() > 0 ? maintenance::until_next_run(store, every) : every;
  return {first, every, "cannot collect garbage", [&config, &store] {
            const auto done =
                maintenance::collect(store, config.local(), config.gc, config.use_log, maintenance::Mode::real);
            log::info("garbage collected", {{"images", std::to_string(done.images.size())},
                                            {"blobs", std::to_string(done.blobs)},
                                            {"freed_bytes", std::to_string(done.freed)},
                                            {"left_bytes", std::to_string(done.left)},
                                            {"clock_jumped", done.clock_jumped ? "yes" : "no"}});
          }};
}

namespace {

constexpr std::string_view no_record = "cannot read the log of pulls";
// Logs are rotated daily, or hourly if they grow fast. Of two rotations between two reads, one would be lost.
constexpr std::chrono::hours between_records{1};

}  // namespace

PullRecorder::PullRecorder(const Config& config, const tree::BlobStore& store)
    : config_(config),
      store_(store),
      task_(std::chrono::seconds(0), config.use_log.empty() ? std::chrono::seconds(0) : between_records,
            std::string(no_record), [this] { record(); }) {}

void PullRecorder::record() const {
  maintenance::record_uses(store_, config_.use_log);
}

PullRecorder::~PullRecorder() {
  try {
    record();
  } catch (const std::exception& error) {
    log::warning(no_record, {{"error", error.what()}});
  }
}

DeclarationWatcher::DeclarationWatcher(pipeline::Builder& builder, RegistryParts& parts)
    : builder_(builder),
      parts_(parts),
      task_(std::chrono::seconds(1), std::chrono::seconds(parts.config.images.empty() ? 0 : 1),
            "cannot follow the declared images", [this] { look(); }) {}

void DeclarationWatcher::look() {
  const auto declarations = parts_.declared.current();
  const bool learnt = ask_of_one(*declarations);
  if (declarations->generation() == seen_ && !learnt) return;
  builder_.drop_outdated_tags();
  seen_ = declarations->generation();
  auto problems = declarations->problems();
  const auto is_package = [this](const reference::AttributePath& path) {
    return packages_.contains(path.text) && packages_.at(path.text);
  };
  for (std::string& clash : declarations->clashes(is_package)) problems.push_back(std::move(clash));
  for (const std::string& problem : problems)
    if (std::find(logged_.begin(), logged_.end(), problem) == logged_.end())
      log::warning("declared image", {{"problem", problem}});
  logged_ = std::move(problems);
}

// Evaluation is slow, so each round evaluates one name, and each name only once: changes are not delayed.
bool DeclarationWatcher::ask_of_one(const pipeline::Declarations& declarations) {
  if (declarations.generation() != seen_) return false;
  for (const auto& path : declarations.first_parts())
    if (!packages_.contains(path.text)) return packages_[path.text] = parts_.has_attribute(path, stop_.get_token());
  return false;
}

}  // namespace nixery::command

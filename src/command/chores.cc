#include "command/chores.h"

#include <algorithm>

#include "log.h"
#include "upkeep/collect.h"

namespace nixery::command {

Chore::Chore(std::chrono::seconds every, std::string failing, std::function<void()> work)
    : every_(every), failing_(std::move(failing)), work_(std::move(work)) {
  if (every_.count() > 0) thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void Chore::run(const std::stop_token& stop) const {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, stop, every_, [&] { return stop.stop_requested(); })) {
    try {
      work_();
    } catch (const std::exception& error) {
      log::warning(failing_, {{"error", error.what()}});
    }
  }
}

Chore refreshing(build::Builder& builder, std::chrono::seconds every) {
  return {every, "cannot refresh", [&builder] { builder.refresh(); }};
}

Chore collecting(const Config& config) {
  return {config.gc_interval, "cannot collect garbage", [&config] {
            const auto done = upkeep::collect(config.layout, config.gc, config.use_log, upkeep::Mode::real);
            log::info("garbage collected", {{"images", std::to_string(done.images.size())},
                                            {"blobs", std::to_string(done.blobs)},
                                            {"freed_bytes", std::to_string(done.freed)},
                                            {"left_bytes", std::to_string(done.left)},
                                            {"clock_jumped", done.clock_jumped ? "yes" : "no"}});
          }};
}

DeclarationWatcher::DeclarationWatcher(build::Builder& builder, RegistryParts& parts)
    : builder_(builder),
      parts_(parts),
      chore_(std::chrono::seconds(parts.config.images.empty() ? 0 : 1), "cannot follow the declared images",
             [this] { look(); }) {}

void DeclarationWatcher::look() {
  const auto declarations = parts_.declared.current();
  const bool learnt = ask_of_one(*declarations);
  if (declarations->generation() == seen_ && !learnt) return;
  builder_.drop_outdated_tags();
  seen_ = declarations->generation();
  auto told = declarations->problems();
  const auto is_package = [this](const reference::AttributePath& path) {
    return packages_.contains(path.text) && packages_.at(path.text);
  };
  for (std::string& clash : declarations->clashes(is_package)) told.push_back(std::move(clash));
  for (const std::string& problem : told)
    if (std::find(told_.begin(), told_.end(), problem) == told_.end())
      log::warning("declared image", {{"problem", problem}});
  told_ = std::move(told);
}

// Evaluating takes a while: one name a round, and each only once, so that changes are not kept waiting.
bool DeclarationWatcher::ask_of_one(const build::Declarations& declarations) {
  if (declarations.generation() != seen_) return false;
  for (const auto& path : declarations.first_parts())
    if (!packages_.contains(path.text)) return packages_[path.text] = parts_.has_attribute(path, &stopping_);
  return false;
}

}  // namespace nixery::command

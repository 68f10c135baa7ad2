#include "pipeline/progress.h"

#include <fmt/format.h>

namespace nixery::pipeline {

namespace {

std::uint64_t megabytes(std::uint64_t bytes) {
  return (bytes + 500'000) / 1'000'000;
}

}  // namespace

std::string_view name_of(Phase phase) {
  switch (phase) {
    case Phase::queued: return "queued";
    case Phase::resolving: return "resolving";
    case Phase::realising: return "realising";
    case Phase::layering: return "layering";
    case Phase::publishing: return "publishing";
    case Phase::finished: return "finished";
  }
  return {};
}

std::string Snapshot::what() const {
  if (!members.empty()) return members;
  switch (phase) {
    case Phase::queued: return "waiting for a free build thread";
    case Phase::resolving: return "resolving packages";
    case Phase::realising: return step.empty() ? "building with nix" : "building with nix: " + step;
    case Phase::layering:
      return fmt::format("compressing layers: {} of {}, {} of {} MB", layers_done, layers_total, megabytes(bytes_done),
                         megabytes(bytes_total));
    case Phase::publishing: return "publishing";
    case Phase::finished: return "finished";
  }
  return {};
}

std::string Snapshot::text() const {
  return fmt::format("{}, {} s", what(), std::chrono::duration_cast<std::chrono::seconds>(elapsed).count());
}

void Progress::changed(std::unique_lock<std::mutex> lock) {
  if (!listener_) return;
  Snapshot now = now_;
  lock.unlock();
  now.elapsed = std::chrono::steady_clock::now() - start_;
  listener_(now);
}

void Progress::enter(Phase phase) {
  std::unique_lock lock(mutex_);
  now_.phase = phase;
  now_.step.clear();
  now_.members.clear();
  changed(std::move(lock));
}

void Progress::step(std::string text) {
  std::unique_lock lock(mutex_);
  now_.step = std::move(text);
  changed(std::move(lock));
}

void Progress::total(std::uint64_t layers, std::uint64_t bytes) {
  std::unique_lock lock(mutex_);
  now_.layers_total = layers;
  now_.bytes_total = bytes;
  changed(std::move(lock));
}

void Progress::members(std::string text) {
  std::unique_lock lock(mutex_);
  now_.members = std::move(text);
  changed(std::move(lock));
}

void Progress::layering(std::uint64_t layers_done, std::uint64_t bytes_done) {
  std::unique_lock lock(mutex_);
  now_.layers_done = layers_done;
  now_.bytes_done = bytes_done;
  changed(std::move(lock));
}

Snapshot Progress::snapshot() const {
  const std::lock_guard lock(mutex_);
  Snapshot now = now_;
  now.elapsed = std::chrono::steady_clock::now() - start_;
  return now;
}

MembersProgress::MembersProgress(Progress& whole, const std::vector<reference::Platform>& platforms) : whole_(whole) {
  for (const reference::Platform& platform : platforms) names_.push_back(platform.meta_package);
  texts_.resize(names_.size());
}

Progress::Listener MembersProgress::listener(std::size_t member) {
  return [this, member](const Snapshot& snapshot) {
    std::string text;
    {
      const std::lock_guard lock(mutex_);
      texts_[member] = snapshot.what();
      for (std::size_t i = 0; i < names_.size(); ++i)
        if (!texts_[i].empty()) text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", names_[i], texts_[i]);
    }
    whole_.members(std::move(text));
  };
}

std::string step_of_nix_line(std::string_view line) {
  // "building '/nix/store/<hash>-curl-8.0.drv'..."; "copying path '/nix/store/<hash>-curl-8.0' from '…'..."
  for (const std::string_view verb : {"building", "copying path", "downloading"}) {
    if (!line.starts_with(verb)) continue;
    const auto open = line.find('\'');
    const auto close = line.find('\'', open == line.npos ? open : open + 1);
    if (close == line.npos) return {};
    std::string_view subject = line.substr(open + 1, close - open - 1);
    subject.remove_prefix(subject.rfind('/') + 1);
    if (subject.size() > 33 && subject[32] == '-') subject.remove_prefix(33);
    if (subject.ends_with(".drv")) subject.remove_suffix(4);
    return fmt::format("{} {}", verb == "copying path" ? "fetching" : verb, subject);
  }
  return {};
}

}  // namespace nixery::pipeline

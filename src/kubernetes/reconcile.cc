#include "kubernetes/reconcile.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "kubernetes/image_status.h"
#include "log.h"

namespace nixery::kubernetes {

namespace {

using std::chrono::seconds;
using State = PullResult::State;

constexpr milliseconds least_wait{500}, most_wait{30'000};  // back-off after failures of the API server
constexpr milliseconds least_pull_wait{1000};               // back-off after failures of the registry, up to
constexpr milliseconds least_poll{250};                     // least time between two requests about a build
constexpr milliseconds most_wait_unavailable{15'000}, most_wait_refused{300'000}, most_wait_failed{1'800'000};
constexpr seconds long_for_taking{60};  // after which a declaration that the registry has not loaded is a failure

std::string without_scheme(const std::string& url) {
  const auto host = url.find("://") + 3;
  return url.substr(host, url.find('/', host) - host);
}

milliseconds until(Clock::time_point when) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(when - Clock::now()));
}

}  // namespace

Reconciler::Reconciler(const ControllerSettings& settings, const ApiClient& client, std::function<bool()> leads,
                       const std::stop_token& stop)
    : settings_(settings),
      client_(client),
      leads_(std::move(leads)),
      stop_(stop),
      files_(settings.images),
      events_(client, settings.identity),
      queue_(least_wait, most_wait),
      pulls_(least_wait, most_wait),
      listing_quota_(settings.quota),
      quota_(settings.quota) {}

Observer Reconciler::observer() {
  const auto parse = [](const json::Value& object) -> std::optional<NixImage> {
    try {
      return parse_nix_image(object);
    } catch (const Error& error) {
      log::warning("ignoring an invalid object", {{"object", key_of(object)}, {"error", error.what()}});
      return std::nullopt;
    }
  };
  Observer observer;
  observer.listing = [this] {
    listing_.clear();
    listing_quota_.clear();
    const std::lock_guard lock(mutex_);
    kept_.clear();
  };
  observer.item = [this, parse](const json::Value& object) {
    auto image = parse(object);
    if (!image) return;
    for (const std::string& other : listing_quota_.add(*image)) listing_.at(other).leave_data();
    if (listing_quota_.is_over(image->key())) image->leave_data();
    listing_.insert_or_assign(image->key(), std::move(*image));
  };
  observer.listed = [this] {
    log::info("listed", {{"images", std::to_string(listing_.size())}});
    remove_strays(listing_);
    const std::lock_guard lock(mutex_);
    listed_ = true;
    // An object that was written after its page was read is newer than the list. Everything else is as the list says,
    // even if its version is older: then the server was restored from a backup.
    for (auto& [key, image] : listing_) {
      const auto at = images_.find(key);
      if (!kept_.contains(key) || at == images_.end() || at->second.uid != image.uid ||
          !is_older(image.version, at->second.version))
        continue;
      image = std::move(at->second);
      if (listing_quota_.is_over(key)) image.leave_data();
    }
    std::set<std::string> keys;
    for (const auto& [key, image] : images_) keys.insert(key);
    for (const auto& [key, image] : listing_) keys.insert(key);
    images_ = std::exchange(listing_, {});
    quota_ = std::exchange(listing_quota_, Quota(settings_.quota));
    for (const std::string& key : keys) queue_.add(key);
  };
  observer.changed = [this, parse](const json::Value& object) {
    auto image = parse(object);
    if (!image) return;
    const std::lock_guard lock(mutex_);
    const std::string key = image->key();
    // An object that was replaced by another of its name replaces it here too, even if no deletion was observed.
    for (const std::string& other : quota_.add(*image)) {
      if (const auto at = images_.find(other); at != images_.end()) at->second.leave_data();
      queue_.add(other);
    }
    // The responses to our own writes are newer than their watch events, which therefore are ignored.
    const auto at = images_.find(key);
    if (at != images_.end() && at->second.uid == image->uid && is_older(image->version, at->second.version)) return;
    keep(std::move(*image));
    queue_.add(key);
  };
  observer.deleted = [this](const json::Value& object) {
    const std::string key = key_of(object);
    const std::lock_guard lock(mutex_);
    if (images_.erase(key) == 0) return;
    queue_.add(key);
    for (const std::string& other : quota_.remove(key)) queue_.add(other);
  };
  return observer;
}

// Removes the files of deleted objects.
void Reconciler::remove_strays(const std::map<std::string, NixImage>& images) {
  std::set<std::string> files;
  for (const auto& [key, image] : images) {
    files.insert(DeclaredFiles::file_name(image.namespace_name, image.name));
    if (image.namespace_name == settings_.short_names) files.insert(DeclaredFiles::file_name("", image.name));
  }
  files_.keep_only([&](const std::string& file) { return files.contains(file); });
}

void Reconciler::take_files() {
  if (files_are_ours_ || !files_.take()) return;
  std::map<std::string, NixImage> images;
  {
    const std::lock_guard lock(mutex_);
    if (!listed_) return;
    images = images_;
  }
  // Even if a list has done so: that may have been before this process became the writer.
  remove_strays(images);
  resync();
  files_are_ours_ = true;
  log::info("this process now writes the files", {{"directory", settings_.images.string()}});
}

void Reconciler::resync() {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, image] : images_) queue_.add(key);
}

void Reconciler::stop() {
  queue_.stop();
  pulls_.stop();
}

void Reconciler::work() {
  while (const auto key = queue_.take()) {
    try {
      reconcile(*key);
      queue_.forget(*key);
      const std::lock_guard lock(mutex_);
      failing_.erase(*key);
    } catch (const ApiError& error) {
      // The object has changed, or has gone, which the watch is about to report. (Or a starting server does not know
      // its resources yet: then it is retried.)
      if (error.status != 409 && error.status != 404) report(*key, error.what());
      queue_.add_after_failure(*key, error.retry_after.value_or(seconds(0)));
    } catch (const std::exception& error) {
      report(*key, error.what());
      queue_.add_after_failure(*key);
    }
    queue_.done(*key);
  }
}

// Logs an error once, until it succeeds again.
void Reconciler::report(const std::string& key, const char* error) {
  if (stop_.stop_requested()) return;
  const std::lock_guard lock(mutex_);
  if (failing_.insert(key).second) log::warning("cannot reconcile", {{"image", key}, {"error", error}});
}

void Reconciler::pull() {
  while (const auto key = pulls_.take()) {
    try {
      pull(*key);
    } catch (const std::exception& error) {
      log::warning("cannot pull", {{"image", *key}, {"error", error.what()}});
      pulls_.add_after_failure(*key);
    }
    pulls_.done(*key);
  }
}

std::optional<NixImage> Reconciler::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto at = images_.find(key);
  if (at == images_.end()) return std::nullopt;
  return at->second;
}

// As the server has it now; nullopt if that is another object than the observed one, which the watch will report.
std::optional<NixImage> Reconciler::fetch(const NixImage& image) {
  const http_client::Response response = client_.request(
      "GET", fmt::format("/apis/{}/namespaces/{}/niximages/{}", api_version, image.namespace_name, image.name));
  NixImage now = parse_nix_image(json::parse(response.body, "the API server's answer"));
  const std::lock_guard lock(mutex_);
  const auto at = images_.find(image.key());
  if (at == images_.end() || at->second.uid != now.uid || at->second.data_hash != now.data_hash) return std::nullopt;
  if (!is_older(now.version, at->second.version)) keep(now);
  return now;
}

bool Reconciler::is_over(const std::string& key) {
  const std::lock_guard lock(mutex_);
  return quota_.is_over(key);
}

// The caller holds the mutex.
void Reconciler::keep(NixImage image) {
  const std::string key = image.key();
  if (quota_.is_over(key)) image.leave_data();
  kept_.insert(key);
  images_.insert_or_assign(key, std::move(image));
}

void Reconciler::forget(const std::string& key) {
  const auto slash = key.find('/');
  NixImage gone;
  gone.namespace_name = key.substr(0, slash);
  gone.name = key.substr(slash + 1);
  remove_files(gone);
  events_.forget(key);
  const std::lock_guard lock(mutex_);
  known_.erase(key);
  failing_.erase(key);
}

ImageDeclaration Reconciler::write_files(const NixImage& image, bool& changed) {
  ImageDeclaration declaration = declare(image, image.key());
  changed = files_.write(image.namespace_name, image.name, declaration.text);
  if (image.namespace_name == settings_.short_names)
    changed |= files_.write("", image.name, declare(image, image.name).text);
  return declaration;
}

void Reconciler::remove_files(const NixImage& image) {
  files_.remove(image.namespace_name, image.name);
  if (image.namespace_name == settings_.short_names) files_.remove("", image.name);
}

std::string Reconciler::reference_of(const NixImage& image) const {
  return fmt::format("{}/{}:{}", settings_.host.empty() ? without_scheme(settings_.registry) : settings_.host,
                     image.key(), image.tag);
}

void Reconciler::reconcile(const std::string& key) {
  auto image = find(key);
  if (!image) return forget(key);
  const bool over = is_over(key);
  if (!over && image->has_left_data()) image = fetch(*image);
  if (!image) return;
  std::optional<PullResult> built;
  const PullResult state = result_of(*image, over, built);
  record(*image, state, built);
}

// Writes or removes the object's files, and schedules its pull.
PullResult Reconciler::result_of(const NixImage& image, bool over, std::optional<PullResult>& built) {
  const std::string key = image.key();
  const auto without_files = [&](const std::string& reason, const std::string& message) {
    remove_files(image);
    const std::lock_guard lock(mutex_);
    known_.erase(key);
    return make_result(State::refused, reason, message);
  };
  if (over)
    return without_files("QuotaExceeded", fmt::format("the namespace has more than {} images: this one is not served "
                                                      "until an older one is gone",
                                                      settings_.quota));
  bool changed = false;
  ImageDeclaration declaration;
  try {
    declaration = write_files(image, changed);
  } catch (const Error& error) {
    if (error.failure() != Failure::bad_config) throw;
    return without_files("InvalidData", error.detail().empty() ? error.what() : error.detail());
  }

  const std::lock_guard lock(mutex_);
  const auto [at, fresh] = known_.try_emplace(key);
  ObservedImage& known = at->second;
  if (fresh || changed || known.uid != image.uid || known.data_hash != image.data_hash) {
    known = {};
    known.uid = image.uid;
    known.data_hash = image.data_hash;
    known.declaration = declaration.hash;
    known.serial = ++serial_;
    known.written = Clock::now();
    known.next_pull = known.written + (changed ? settings_.settle : milliseconds(0));
  }
  pulls_.add(key, until(known.next_pull));
  built = known.built;
  if (known.pull) return *known.pull;
  // After a restart nothing is recorded until the state is known.
  return make_result(State::building, "Building", "the image is being built");
}

void Reconciler::pull(const std::string& key) {
  Wanted wanted{settings_.registry, key, {}, {}};
  std::optional<PullResult> before;
  std::uint64_t serial = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto image = images_.find(key);
    const auto known = known_.find(key);
    if (image == images_.end() || known == known_.end()) return;
    if (known->second.data_hash != image->second.data_hash || known->second.uid != image->second.uid) return;
    if (Clock::now() < known->second.next_pull) return pulls_.add(key, until(known->second.next_pull));
    wanted.tag = image->second.tag;
    wanted.declaration = known->second.declaration;
    before = known->second.built;
    serial = known->second.serial;
  }
  PullResult pulled = pull_image(wanted, before, stop_);
  if (stop_.stop_requested()) return;

  const std::lock_guard lock(mutex_);
  const auto at = known_.find(key);
  if (at == known_.end() || at->second.serial != serial) return;  // the declaration has changed meanwhile
  ObservedImage& known = at->second;
  const auto now = Clock::now();
  if (pulled.state == State::not_taken && now > known.written + long_for_taking)
    pulled = make_result(State::unavailable, "NotTakenOver",
                         fmt::format("the registry at {} does not serve what is declared here as {}:{}: both must use "
                                     "the same NIXERY_IMAGES, and no other file may declare that name",
                                     settings_.registry, wanted.name, wanted.tag));
  const auto after_failures = [&](milliseconds most) {
    const auto own = back_off(known.failures++, least_pull_wait, most, random_part());
    return std::max<milliseconds>(own, pulled.retry_after.value_or(seconds(0)));
  };
  switch (pulled.state) {
    case State::built:
      known.failures = 0;
      known.built = pulled;
      known.next_pull = now + back_off(0, settings_.resync, settings_.resync, random_part());
      break;
    case State::building:
      known.next_pull = now + std::max<milliseconds>(least_poll, pulled.retry_after.value_or(seconds(0)));
      break;
    case State::not_taken:
    case State::unavailable: known.next_pull = now + after_failures(most_wait_unavailable); break;
    case State::refused: known.next_pull = now + after_failures(most_wait_refused); break;
    case State::failed: known.next_pull = now + after_failures(most_wait_failed); break;
  }
  if (!known.pull || known.pull->reason != pulled.reason || known.pull->digest != pulled.digest) {
    if (pulled.state == State::built)
      log::info("image ready", {{"image", key}, {"tag", wanted.tag}, {"manifest", pulled.digest}});
    else if (!is_progress(pulled))
      log::warning("image not ready", {{"image", key}, {"reason", pulled.reason}, {"error", pulled.message}});
  }
  known.pull = pulled;
  pulls_.add(key, until(known.next_pull));
  queue_.add(key);
}

void Reconciler::record(const NixImage& image, const PullResult& pull, const std::optional<PullResult>& built) {
  if (!leads_()) return;
  // Until there is a new result, the status of this generation stands: after a restart, and while the image is built
  // again.
  const bool is_reported = image.status.observed_generation == image.generation && !image.status.conditions.empty();
  if (!is_progress(pull) || !is_reported) {
    const auto there = built || !is_reported ? built : built_by(image.status);
    const ImageStatus wanted =
        with_transitions(status_of(image, pull, there, reference_of(image)), image.status, timestamp_now());
    if (wanted != image.status) {
      events_.note(image, pull, wanted);  // before writing, because the response to the write may be lost
      const std::string path = fmt::format("/apis/{}/namespaces/{}/niximages/{}/status?fieldManager={}&force=true",
                                           api_version, image.namespace_name, image.name, field_manager);
      const http_client::Response response = client_.request("PATCH", path, status_patch(image, wanted), apply_type);
      NixImage stored = parse_nix_image(json::parse(response.body, "the API server's answer"));
      const std::lock_guard lock(mutex_);
      const auto at = images_.find(image.key());
      if (at != images_.end() && at->second.uid == stored.uid && is_older(at->second.version, stored.version))
        keep(std::move(stored));
    }
  }
  events_.record(image);
}

}  // namespace nixery::kubernetes

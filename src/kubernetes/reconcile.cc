#include "kubernetes/reconcile.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "log.h"

namespace nixery::kubernetes {

namespace {

using std::chrono::seconds;
using Outcome = Pull::Outcome;

constexpr milliseconds least_wait{1000}, most_wait{300'000};  // after failures

Condition condition(const NixImage& image, const char* type, const char* status, const std::string& reason,
                    const std::string& message) {
  return {type, status, reason, message, image.generation, ""};
}

Pull refusal(const std::string& reason, const std::string& message) {
  Pull pull;
  pull.outcome = Outcome::refused;
  pull.reason = reason;
  pull.message = message;
  return pull;
}

Pull not_built_yet() {
  Pull pull;
  pull.reason = "Building";
  pull.message = "the image is being built";
  return pull;
}

std::string without_scheme(const std::string& url) {
  const auto host = url.find("://") + 3;
  return url.substr(host, url.find('/', host) - host);
}

milliseconds until(Clock::time_point when) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(when - Clock::now()));
}

}  // namespace

Status status_of(const NixImage& image, const Pull& pull, const std::string& reference) {
  Status status;
  status.observed_generation = image.generation;
  status.reference = reference;
  const auto conditions = [&](const char* resolved, const std::string& resolved_reason, const char* built,
                              const char* ready) {
    status.conditions = {condition(image, "Resolved", resolved, resolved_reason,
                                   std::string_view(resolved) == "True" ? "the packages are known" : pull.message),
                         condition(image, "Built", built, pull.reason, pull.message),
                         condition(image, "Ready", ready, pull.reason, pull.message)};
  };
  switch (pull.outcome) {
    case Outcome::built:
      conditions("True", "Resolved", "True", "True");
      status.digest = pull.digest;
      status.size = pull.size;
      status.layers = pull.layers;
      break;
    case Outcome::building: conditions("Unknown", pull.reason, "False", "False"); break;
    case Outcome::refused: conditions("False", pull.reason, "False", "False"); break;
    case Outcome::failed: conditions("True", "Resolved", "False", "False"); break;
    case Outcome::unavailable: conditions("Unknown", pull.reason, "Unknown", "Unknown"); break;
  }
  if (pull.outcome != Outcome::built && pull.outcome != Outcome::building) status.last_error = pull.message;
  return status;
}

std::vector<std::string> over_quota(std::vector<NixImage> of_namespace, unsigned quota) {
  std::vector<std::string> keys;
  if (quota == 0 || of_namespace.size() <= quota) return keys;
  std::sort(of_namespace.begin(), of_namespace.end(), [](const NixImage& a, const NixImage& b) {
    return std::tie(a.created, a.name) < std::tie(b.created, b.name);
  });
  for (std::size_t i = quota; i < of_namespace.size(); ++i) keys.push_back(of_namespace[i].key());
  return keys;
}

Reconciler::Reconciler(const Settings& settings, const ApiClient& client, std::function<bool()> leads,
                       const std::atomic<bool>& stop)
    : settings_(settings),
      client_(client),
      leads_(std::move(leads)),
      stop_(stop),
      files_(settings.images),
      queue_(least_wait, most_wait) {}

Observer Reconciler::observer() {
  const auto parse = [](const json::Value& object) -> std::optional<NixImage> {
    try {
      return parse_nix_image(object);
    } catch (const Error& error) {
      log::warning("an object is left out", {{"object", key_of(object)}, {"error", error.what()}});
      return std::nullopt;
    }
  };
  // A place that has become free is somebody's who waits for it.
  const auto look_at_namespace = [this](const std::string& namespace_name) {
    if (settings_.quota == 0) return;
    for (const auto& [key, image] : images_)
      if (image.namespace_name == namespace_name) queue_.add(key);
  };
  Observer observer;
  observer.listed = [this, parse](std::vector<json::Document> objects) {
    std::map<std::string, NixImage> images;
    std::set<std::string> files;
    for (const json::Document& object : objects) {
      auto image = parse(object);
      if (!image) continue;
      files.insert(DeclaredFiles::file_name(image->namespace_name, image->name));
      if (image->namespace_name == settings_.short_names) files.insert(DeclaredFiles::file_name("", image->name));
      images.insert_or_assign(image->key(), std::move(*image));
    }
    log::info("listed", {{"images", std::to_string(images.size())}});
    files_.keep_only([&](const std::string& file) { return files.contains(file); });
    const std::lock_guard lock(mutex_);
    std::set<std::string> keys;
    for (const auto& [key, image] : images_) keys.insert(key);
    for (const auto& [key, image] : images) keys.insert(key);
    images_ = std::move(images);
    for (const std::string& key : keys) queue_.add(key);
  };
  observer.changed = [this, parse, look_at_namespace](const json::Document& object) {
    auto image = parse(object);
    if (!image) return;
    const std::lock_guard lock(mutex_);
    const std::string key = image->key(), namespace_name = image->namespace_name;
    const bool fresh = images_.insert_or_assign(key, std::move(*image)).second;
    queue_.add(key);
    if (fresh) look_at_namespace(namespace_name);
  };
  observer.deleted = [this, look_at_namespace](const json::Value& object) {
    const std::string key = key_of(object);
    const std::lock_guard lock(mutex_);
    if (images_.erase(key) == 0) return;
    queue_.add(key);
    look_at_namespace(key.substr(0, key.find('/')));
  };
  return observer;
}

void Reconciler::look_at_all() {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, image] : images_) queue_.add(key);
}

void Reconciler::work() {
  while (const auto key = queue_.take()) {
    try {
      reconcile(*key);
      queue_.forgive(*key);
    } catch (const ApiError& error) {
      if (!stop_) log::warning("cannot reconcile", {{"image", *key}, {"error", error.what()}});
      error.retry_after ? queue_.add(*key, *error.retry_after) : queue_.add_after_failure(*key);
    } catch (const std::exception& error) {
      if (!stop_) log::warning("cannot reconcile", {{"image", *key}, {"error", error.what()}});
      queue_.add_after_failure(*key);
    }
    queue_.done(*key);
  }
}

std::optional<NixImage> Reconciler::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto at = images_.find(key);
  if (at == images_.end()) return std::nullopt;
  return at->second;
}

std::shared_ptr<Reconciler::Known> Reconciler::known(const std::string& key) {
  const std::lock_guard lock(mutex_);
  auto& entry = known_[key];
  if (!entry) entry = std::make_shared<Known>();
  return entry;
}

void Reconciler::forget(const std::string& key) {
  const auto slash = key.find('/');
  NixImage gone;
  gone.namespace_name = key.substr(0, slash);
  gone.name = key.substr(slash + 1);
  remove_files(gone);
  const std::lock_guard lock(mutex_);
  known_.erase(key);
}

bool Reconciler::is_over_quota(const NixImage& image) {
  if (settings_.quota == 0) return false;
  std::vector<NixImage> of_namespace;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, other] : images_)
      if (other.namespace_name == image.namespace_name) of_namespace.push_back(other);
  }
  const auto keys = over_quota(std::move(of_namespace), settings_.quota);
  return std::find(keys.begin(), keys.end(), image.key()) != keys.end();
}

bool Reconciler::write_files(const NixImage& image) {
  const std::string text = declared_json(image, image.key());
  bool changed = files_.write(image.namespace_name, image.name, text);
  if (image.namespace_name == settings_.short_names)
    changed |= files_.write("", image.name, declared_json(image, image.name));
  return changed;
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
  const auto image = find(key);
  if (!image) return forget(key);
  const std::shared_ptr<Known> seen = known(key);

  if (is_over_quota(*image)) {
    remove_files(*image);
    *seen = {};
    return tell_status(*image,
                       refusal("QuotaExceeded", fmt::format("the namespace has more than {} images: this one is "
                                                            "not served until an older one is gone",
                                                            settings_.quota)));
  }
  bool changed = false;
  try {
    changed = write_files(*image);
  } catch (const Error& error) {
    if (error.failure() != Failure::bad_config) throw;
    // As with every file of a declared image: what was declared before stays in force.
    *seen = {};
    return tell_status(*image, refusal("InvalidData", error.detail().empty() ? error.what() : error.detail()));
  }
  if (changed || seen->uid != image->uid || seen->text != image->data) {
    *seen = {};
    seen->uid = image->uid;
    seen->text = image->data;
    seen->confirmed = !changed;
    seen->next_pull = Clock::now() + (changed ? settings_.settle : milliseconds(0));
  }
  seen->generation = image->generation;
  if (!seen->pull && (changed || image->status.observed_generation != image->generation))
    tell_status(*image, not_built_yet());
  if (Clock::now() >= seen->next_pull) pull(*image, *seen);
  if (stop_) return;
  queue_.add(key, until(seen->next_pull));
  if (seen->pull) {
    // What was pulled may be of an object that is another one by now; then it is looked at again anyway.
    if (const auto now = find(key); now && now->uid == seen->uid && now->data == seen->text)
      tell_status(*now, *seen->pull);
  }
}

void Reconciler::pull(const NixImage& image, Known& known) {
  const Pull pulled = pull_image(settings_.registry, image.key(), image.tag, stop_);
  if (stop_) return;
  const bool news = !known.pull || known.pull->outcome != pulled.outcome || known.pull->digest != pulled.digest;
  const auto now = Clock::now();
  switch (pulled.outcome) {
    case Outcome::built:
      known.failures = 0;
      // The registry may have answered as of before the change: a second look, soon.
      known.next_pull = now + (known.confirmed ? milliseconds(settings_.resync) : settings_.settle * 4);
      known.confirmed = true;
      break;
    case Outcome::building: known.next_pull = now + pulled.retry_after.value_or(seconds(1)); break;
    default: {
      const auto own = back_off(known.failures++, least_wait * 2, most_wait, random_part());
      known.next_pull = now + std::max<milliseconds>(own, pulled.retry_after.value_or(seconds(0)));
    }
  }
  known.pull = pulled;
  const bool told_before = image.status.digest == pulled.digest &&
                           image.status.observed_generation == image.generation && pulled.outcome == Outcome::built;
  if (news && !told_before && pulled.outcome != Outcome::building) tell_event(image, pulled);
}

void Reconciler::tell_status(const NixImage& image, const Pull& pull) {
  if (!leads_()) return;
  Pull shown = pull;
  const std::string reference = reference_of(image);
  if (shown.outcome == Outcome::built) shown.message = fmt::format("{}@{}", reference, shown.digest);
  const Status wanted = with_transitions(status_of(image, shown, reference), image.status, timestamp_now());
  if (wanted == image.status) return;
  const std::string path = fmt::format("/apis/{}/namespaces/{}/niximages/{}/status?fieldManager={}&force=true",
                                       api_version, image.namespace_name, image.name, field_manager);
  try {
    client_.request("PATCH", path, status_patch(image, wanted), apply_type);
  } catch (const ApiError& error) {
    if (error.status == 404) return;  // it has gone
    throw;
  }
  const std::lock_guard lock(mutex_);
  const auto at = images_.find(image.key());
  if (at != images_.end() && at->second.uid == image.uid && at->second.generation == image.generation)
    at->second.status = wanted;
}

void Reconciler::tell_event(const NixImage& image, const Pull& pull) {
  if (!leads_()) return;
  const bool good = pull.outcome == Outcome::built;
  const Happening happening{!good, pull.reason, "Build",
                            good ? fmt::format("built {}@{}", reference_of(image), pull.digest) : pull.message};
  try {
    client_.request("POST", fmt::format("/apis/events.k8s.io/v1/namespaces/{}/events", image.namespace_name),
                    event_json(image, happening, settings_.identity, micro_timestamp_now()));
  } catch (const Error& error) {
    log::warning("cannot tell an event", {{"image", image.key()}, {"error", error.what()}});
  }
}

}  // namespace nixery::kubernetes

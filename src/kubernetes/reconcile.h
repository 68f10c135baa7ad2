// What is done about each NixImage: its file is written, its image pulled, its status told.
//
//   watch ──> listed/changed/deleted ──> the objects, and a queue of their keys
//   worker ──> reconcile(key): file ── the registry reads it ──> pull ──> status, Event
//
// Finalizers are not needed: a deleted object's file is removed when the watch tells so, or, where nobody was there to
// hear it, by the next complete list. What has been built stays in the tree, as after every other change.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "kubernetes/api_client.h"
#include "kubernetes/declared_files.h"
#include "kubernetes/nix_image.h"
#include "kubernetes/registry_image.h"
#include "kubernetes/settings.h"
#include "kubernetes/watch.h"
#include "kubernetes/work_queue.h"

namespace nixery::kubernetes {

// The conditions and the rest for an outcome; transition times are left out.
Status status_of(const NixImage& image, const Pull& pull, const std::string& reference);

// The keys of those that are too many: all but the `quota` oldest of a namespace. Ties go by name.
std::vector<std::string> over_quota(std::vector<NixImage> of_namespace, unsigned quota);

// Thread-safe; work() is for threads of the caller's.
class Reconciler {
 public:
  // `leads`: whether status and events are ours to write.
  Reconciler(const Settings& settings, const ApiClient& client, std::function<bool()> leads,
             const std::atomic<bool>& stop);

  Observer observer();
  void look_at_all();
  // Until stop() has been called.
  void work();
  void stop() { queue_.stop(); }

 private:
  // What this process has seen of an object. Touched only by whoever works on its key.
  struct Known {
    std::string uid, text;
    std::int64_t generation = 0;
    std::optional<Pull> pull;
    Clock::time_point next_pull;
    bool confirmed = false;  // pulled once more some time after the file was written
    unsigned failures = 0;
  };

  void reconcile(const std::string& key);
  void forget(const std::string& key);
  bool is_over_quota(const NixImage& image);
  bool write_files(const NixImage& image);
  void remove_files(const NixImage& image);
  void pull(const NixImage& image, Known& known);
  void tell_status(const NixImage& image, const Pull& pull);
  void tell_event(const NixImage& image, const Pull& pull);
  std::optional<NixImage> find(const std::string& key);
  std::shared_ptr<Known> known(const std::string& key);
  std::string reference_of(const NixImage& image) const;

  const Settings settings_;
  const ApiClient& client_;
  const std::function<bool()> leads_;
  const std::atomic<bool>& stop_;
  DeclaredFiles files_;
  WorkQueue queue_;

  std::mutex mutex_;  // guards what follows; never held while somebody is asked
  std::map<std::string, NixImage> images_;
  std::map<std::string, std::shared_ptr<Known>> known_;
};

}  // namespace nixery::kubernetes

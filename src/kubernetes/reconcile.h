// Reconciles each NixImage: writes its file, pulls its image, updates its status.
//
//   watch ──> listed/changed/deleted ──> the objects, and a queue of their keys
//   reconcile(key): write the file for the registry     (threads of work())
//        └──> pull(key): the registry's result             (threads of pull(), which wait for builds)
//                └──> reconcile(key): status, Event
//
// Finalizers are not needed: a deleted object's file is removed when the watch reports it, or, if no controller was
// running, by the next complete list. Built images stay in the tree, as after every other change.
//
// There may be any number of objects over their namespace's quota, so their `data` is not kept in memory. It is fetched
// again when such an object comes within the quota.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "kubernetes/api_client.h"
#include "kubernetes/declared_files.h"
#include "kubernetes/event_recorder.h"
#include "kubernetes/nix_image.h"
#include "kubernetes/quota.h"
#include "kubernetes/registry_image.h"
#include "kubernetes/settings.h"
#include "kubernetes/watch.h"
#include "kubernetes/work_queue.h"

namespace nixery::kubernetes {

// Thread-safe; work() and pull() run on the caller's threads.
class Reconciler {
 public:
  // `leads`: whether this process writes status and events.
  Reconciler(const ControllerSettings& settings, const ApiClient& client, std::function<bool()> leads,
             const std::stop_token& stop);

  Observer observer();
  void resync();
  // Starts to write the directory's files, unless another controller does. Call it periodically, from one thread at a
  // time; after an exception the next call retries.
  void take_files();
  // Runs until stop() is called.
  void work();
  void pull();
  void stop();

 private:
  // What this process knows of an object whose file exists.
  struct ObservedImage {
    std::string uid, data_hash;
    std::string declaration;          // its hash
    std::uint64_t serial = 0;         // changes with each new declaration
    Clock::time_point written;        // when the file was written or first seen
    std::optional<PullResult> pull;   // the last result of a pull
    std::optional<PullResult> built;  // the last successful result
    Clock::time_point next_pull;
    unsigned failures = 0;
  };

  void reconcile(const std::string& key);
  void report(const std::string& key, const char* error);
  void pull(const std::string& key);
  void forget(const std::string& key);
  void remove_strays(const std::map<std::string, NixImage>& images);
  ImageDeclaration write_files(const NixImage& image, bool& changed);
  void remove_files(const NixImage& image);
  PullResult result_of(const NixImage& image, bool over, std::optional<PullResult>& built);
  void record(const NixImage& image, const PullResult& pull, const std::optional<PullResult>& built);
  std::optional<NixImage> find(const std::string& key);
  std::optional<NixImage> fetch(const NixImage& image);
  bool is_over(const std::string& key);
  void keep(NixImage image);
  std::string reference_of(const NixImage& image) const;

  const ControllerSettings settings_;
  const ApiClient& client_;
  const std::function<bool()> leads_;
  const std::stop_token stop_;
  DeclaredFiles files_;
  EventRecorder events_;
  WorkQueue queue_, pulls_;

  // The list that is being received; used by the watching thread only.
  std::map<std::string, NixImage> listing_;
  Quota listing_quota_;

  bool files_are_ours_ = false;  // and complete; used by take_files() only

  std::mutex mutex_;  // guards what follows; never held during a request
  bool listed_ = false;
  std::map<std::string, NixImage> images_;
  std::set<std::string> kept_;  // keys of objects that arrived otherwise since the last list began
  Quota quota_;
  std::map<std::string, ObservedImage> known_;
  std::set<std::string> failing_;
  std::uint64_t serial_ = 0;
};

}  // namespace nixery::kubernetes

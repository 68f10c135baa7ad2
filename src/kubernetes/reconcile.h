// Reconciles each NixImage: writes its file, pulls its image, updates its status.
//
//   watch ──> listed/changed/deleted ──> the objects, and a queue of their keys
//   reconcile(key): file ── the registry reads it          (threads of work())
//        └──> pull(key): what the registry says of it      (threads of pull(), which wait for builds)
//                └──> reconcile(key): status, Event
//
// Finalizers are not needed: a deleted object's file is removed when the watch reports it, or, if no controller ran to
// hear it, by the next complete list. What has been built stays in the tree, as after every other change.
//
// Of the objects that are over their namespace's quota, of which there may be any number, `data` is not kept: where one
// moves up, it is asked for again.
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

// Thread-safe; work() and pull() are for threads of the caller's.
class Reconciler {
 public:
  // `leads`: whether status and events are ours to write.
  Reconciler(const Settings& settings, const ApiClient& client, std::function<bool()> leads,
             const std::stop_token& stop);

  Observer observer();
  void resync();
  // Writes the directory's files from now on, unless another controller does. To be called again and again, by one
  // thread at a time; what it throws is tried again by the next call.
  void take_files();
  // Until stop() has been called.
  void work();
  void pull();
  void stop();

 private:
  // What this process knows of an object whose file is there.
  struct ObservedImage {
    std::string uid, data_hash;
    std::string declaration;          // its hash
    std::uint64_t serial = 0;         // of this declaration: another one for each change
    Clock::time_point written;        // its file, or when it was seen to be there
    std::optional<PullResult> pull;   // the last answer to a pull of it
    std::optional<PullResult> built;  // the last that said it was built
    Clock::time_point next_pull;
    unsigned failures = 0;
  };

  void reconcile(const std::string& key);
  void report(const std::string& key, const char* error);
  void pull(const std::string& key);
  void forget(const std::string& key);
  void remove_strays(const std::map<std::string, NixImage>& images);
  Declaration write_files(const NixImage& image, bool& changed);
  void remove_files(const NixImage& image);
  PullResult result_of(const NixImage& image, bool over, std::optional<PullResult>& built);
  void record(const NixImage& image, const PullResult& pull, const std::optional<PullResult>& built);
  std::optional<NixImage> find(const std::string& key);
  std::optional<NixImage> fetch(const NixImage& image);
  bool is_over(const std::string& key);
  void keep(NixImage image);
  std::string reference_of(const NixImage& image) const;

  const Settings settings_;
  const ApiClient& client_;
  const std::function<bool()> leads_;
  const std::stop_token stop_;
  DeclaredFiles files_;
  EventRecorder events_;
  WorkQueue queue_, pulls_;

  // The list that is being received; the follower's own.
  std::map<std::string, NixImage> listing_;
  Quota listing_quota_;

  bool files_are_ours_ = false;  // and as they should be; take_files()'s own

  std::mutex mutex_;  // guards what follows; never held during a request
  bool listed_ = false;
  std::map<std::string, NixImage> images_;
  std::set<std::string> kept_;  // keys of what has come by other ways since the last list began
  Quota quota_;
  std::map<std::string, ObservedImage> known_;
  std::set<std::string> failing_;
  std::uint64_t serial_ = 0;
};

}  // namespace nixery::kubernetes

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "build/builder.h"
#include "build/planner.h"
#include "command/command.h"
#include "command/registry_parts.h"
#include "http/server.h"
#include "log.h"
#include "os/usage.h"
#include "upkeep/collect.h"
#include "upkeep/survey.h"

namespace nixery::command {

namespace {

// Looks from time to time whether moving tags have moved.
class Refresher {
 public:
  Refresher(build::Builder& builder, std::chrono::seconds every) {
    if (every.count() == 0) return;
    thread_ = std::jthread([this, &builder, every](const std::stop_token& stop) {
      std::unique_lock lock(mutex_);
      while (!changed_.wait_for(lock, stop, every, [&] { return stop.stop_requested(); })) {
        try {
          builder.refresh();
        } catch (const std::exception& error) {
          log::warning("cannot refresh", {{"error", error.what()}});
        }
      }
    });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;
};

// Collects garbage from time to time, beside the workers that may do so on other hosts.
class Collector {
 public:
  explicit Collector(const Config& config) {
    if (config.gc_interval.count() == 0) return;
    thread_ = std::jthread([this, &config](const std::stop_token& stop) {
      std::unique_lock lock(mutex_);
      while (!changed_.wait_for(lock, stop, config.gc_interval, [&] { return stop.stop_requested(); })) {
        try {
          const auto done = upkeep::collect(config.layout, config.gc, config.use_log, upkeep::Mode::real);
          log::info("garbage collected", {{"images", std::to_string(done.images.size())},
                                          {"blobs", std::to_string(done.blobs)},
                                          {"freed_bytes", std::to_string(done.freed)},
                                          {"left_bytes", std::to_string(done.left)},
                                          {"clock_jumped", done.clock_jumped ? "yes" : "no"}});
        } catch (const std::exception& error) {
          log::warning("cannot collect garbage", {{"error", error.what()}});
        }
      }
    });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;
};

// Sees that changes of the declared images take effect though nobody asks for them, and tells of what is wrong.
class DeclarationWatcher {
 public:
  DeclarationWatcher(build::Builder& builder, RegistryParts& parts) : builder_(builder), parts_(parts) {
    if (parts.config.images.empty()) return;
    thread_ = std::jthread([this](const std::stop_token& stop) {
      std::unique_lock lock(mutex_);
      do {
        try {
          look();
        } catch (const std::exception& error) {
          log::warning("cannot follow the declared images", {{"error", error.what()}});
        }
      } while (!changed_.wait_for(lock, stop, std::chrono::seconds(1), [&] { return stop.stop_requested(); }));
    });
  }
  ~DeclarationWatcher() { stopping_ = true; }

 private:
  void look() {
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
  bool ask_of_one(const build::Declarations& declarations) {
    if (declarations.generation() != seen_) return false;
    for (const auto& path : declarations.first_parts())
      if (!packages_.contains(path.text)) return packages_[path.text] = parts_.has_attribute(path, &stopping_);
    return false;
  }

  build::Builder& builder_;
  RegistryParts& parts_;
  std::uint64_t seen_ = 0;
  std::vector<std::string> told_;
  std::map<std::string, bool> packages_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;  // last: it uses the rest
};

// What /metrics tells beside what was counted.
class Measure {
 public:
  Measure(const RegistryParts& parts, const build::Builder& builder, std::string listener)
      : parts_(parts),
        builder_(builder),
        listener_(std::move(listener)),
        survey_(parts.config.layout, parts.config.use_log) {}

  metrics::Readings take() {
    metrics::Readings readings;
    readings.version = NIXERY_VERSION;
    readings.listener = listener_;
    readings.builds_queued = builder_.queued();
    readings.builds_running = builder_.in_the_air();
    const layer::WriteStats layers = parts_.writer.totals();
    readings.compressed = layers.compressed;
    readings.copied = layers.copied;
    readings.written = layers.written;
    readings.layers_reused = layers.layers_reused;
    readings.tree_disk = disk(parts_.config.layout.tree);
    readings.state_disk = disk(parts_.config.layout.state);
    readings.min_free = parts_.config.min_free;
    if (const auto counted = survey_.latest()) {
      readings.tree = {counted->blobs, counted->bytes, counted->time};
      readings.pulls = counted->pulls;
    }
    const os::Usage usage = os::own_usage();
    readings.process = {usage.resident_bytes, usage.virtual_bytes, usage.open_fds, usage.max_fds,
                        usage.threads,        usage.cpu_seconds,   start_};
    return readings;
  }

 private:
  static std::optional<metrics::Disk> disk(const std::filesystem::path& directory) {
    const auto space = os::disk_space(directory);
    if (!space) return std::nullopt;
    return metrics::Disk{space->free, space->size};
  }

  const RegistryParts& parts_;
  const build::Builder& builder_;
  const std::string listener_;
  const std::chrono::system_clock::time_point start_ = std::chrono::system_clock::now();
  upkeep::Survey survey_;
};

int run(const Arguments&) {
  // Before any thread starts, so that all inherit it: signals are for sigwait() alone.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  http::limit_descriptors();

  const LoadedConfig loaded = load_config_from_environment();
  const Config& config = loaded.config;
  const http::Listener listener = http::find_listener(config.listen);
  RegistryParts parts(config);
  build::Builder builder(parts.road, parts.tree, *parts.source, parts.writer, parts.declared,
                         {config.build_threads, config.queue_length, config.failure_memory});
  builder.drop_outdated_tags();
  build::Planner planner(parts.road, parts.tree, *parts.source, {1, config.queue_length, config.failure_memory});
  const http::RegistrySettings registry_settings{config.hop, config.hops, config.catalog};
  if (listener.cgi) {
    const http::Registry registry(builder, planner, parts.tree, registry_settings);
    // One request, one process: SIGTERM means it, and builds that the request began are carried through.
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
    http::serve_cgi(registry);
    builder.wait_until_idle();
    return 0;
  }
  for (const std::string& problem : strange_settings_of_environment(loaded.settings))
    log::warning("setting ignored", {{"problem", problem}});
  const Refresher refresher(builder, config.refresh);
  const Collector collector(config);
  const DeclarationWatcher watcher(builder, parts);
  Measure measure(parts, builder, listener.origin);
  http::Status status(parts.metrics, [&] { return measure.take(); }, config.layout, {config.min_free});
  const http::Registry registry(builder, planner, parts.tree, registry_settings, &status);
  http::serve(registry, status, parts.metrics, listener, {config.threads, config.max_waiting});
  return 0;
}

}  // namespace

const Command serve = {
    "serve",
    "",
    "answer the web server's FastCGI requests (or one CGI request)",
    "Accepts FastCGI requests on NIXERY_LISTEN, on the socket that systemd or spawn-fcgi hands over, or, started as a\n"
    "plain CGI program, answers one request and exits. SIGTERM drains: running answers finish, requests that wait for\n"
    "builds are redirected to themselves, builds are resumed when they are asked for again.\n"
    "Settings are environment variables: see `nixery config`.\n",
    {},
    "",
    {{"NIXERY_CHANNEL=nixos-unstable nixery serve",
      "nixpkgs' channel, on the socket that nginx/nixery-http.conf names"},
     {"NIXERY_PKGS_PATH=/srv/nixpkgs NIXERY_LISTEN=127.0.0.1:9000 nixery serve", "a checkout, on a port"}},
    "0 after SIGTERM or when the CGI request is answered, 1 if it cannot begin",
    {"doctor", "config"},
    run};

}  // namespace nixery::command

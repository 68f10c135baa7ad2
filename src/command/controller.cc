#include <fmt/format.h>

#include <cstdlib>
#include <thread>
#include <vector>

#include "command/command.h"
#include "kubernetes/lease.h"
#include "kubernetes/reconcile.h"
#include "log.h"
#include "os/signals.h"

namespace nixery::command {

namespace {

using namespace kubernetes;

constexpr unsigned reconcilers = 4;  // threads that write files and status

std::string collection_path(const ControllerSettings& settings) {
  if (settings.only_namespace.empty()) return fmt::format("/apis/{}/niximages", api_version);
  return fmt::format("/apis/{}/namespaces/{}/niximages", api_version, settings.only_namespace);
}

void keep_taking_files(Reconciler& reconciler, const std::stop_token& stop) {
  std::string last_error;
  while (wait(std::chrono::seconds(1), stop)) {
    try {
      reconciler.take_files();
      last_error.clear();
    } catch (const Error& error) {
      if (last_error != error.what()) log::warning("cannot take the files", {{"error", error.what()}});
      last_error = error.what();
    }
  }
}

int run(const Arguments&) {
  os::block_termination();  // before any thread starts

  const auto environment = [](const char* name) -> const char* { return std::getenv(name); };
  const ControllerSettings settings = load_settings(environment);
  log::set_level(settings.log_level);
  const ClusterAccess access = find_cluster(environment);
  log::info("following NixImages", {{"server", access.server}, {"images", settings.images.string()}});

  std::stop_source stopping;
  const std::stop_token stop = stopping.get_token();
  const ApiClient client(access, stop);
  LeaderElection election(client, settings.lease_namespace, settings.lease_name, settings.identity);
  const bool elects = !settings.lease_name.empty();
  Reconciler reconciler(
      settings, client, [&] { return !elects || election.leads(); }, stop);
  const ObjectList collection{collection_path(settings)};
  const Observer observer = reconciler.observer();
  reconciler.take_files();  // before any thread starts: an exception ends the process here

  std::vector<std::thread> threads;
  if (elects) threads.emplace_back([&] { election.run(stop, [&] { reconciler.resync(); }); });
  for (unsigned i = 0; i < reconcilers; ++i) threads.emplace_back([&] { reconciler.work(); });
  for (unsigned i = 0; i < settings.builds; ++i) threads.emplace_back([&] { reconciler.pull(); });
  threads.emplace_back([&] { keep_taking_files(reconciler, stop); });
  threads.emplace_back([&] { follow(client, collection, observer, stop); });

  os::wait_for_termination([] { log::info("nothing to reload", {{"signal", "SIGHUP"}}); });
  stopping.request_stop();
  reconciler.stop();
  for (std::thread& thread : threads) thread.join();
  if (elects) election.release(ApiClient(access, {}));
  return 0;
}

// One line for each setting.
std::string describe_settings() {
  std::string text;
  for (const SettingDescription& setting : described_settings())
    text += fmt::format("  {:31} {}{}\n", setting.name, setting.meaning,
                        setting.default_value.empty() ? "" : fmt::format("; default: {}", setting.default_value));
  return text;
}

const std::string description =
    "Watches the NixImages of the cluster in KUBECONFIG, or else of the pod's own cluster. Writes each as a declared\n"
    "image into NIXERY_IMAGES, pulls it from the registry, which builds it, and updates its status. Needs no Nix.\n"
    "Settings are environment variables:\n" +
    describe_settings();

}  // namespace

const Command controller = {
    "controller",
    "",
    "reconcile Kubernetes' NixImage objects with declared images",
    description.c_str(),
    {},
    "",
    {{"NIXERY_CONTROLLER_REGISTRY=http://127.0.0.1:8080 nixery controller", "with a registry on the same host"},
     {"KUBECONFIG=~/.kube/config NIXERY_CONTROLLER_NAMESPACE=team nixery controller",
      "from outside, for one namespace"}},
    "0 after SIGTERM, 1 if it cannot start",
    {"images", "serve"},
    run};

}  // namespace nixery::command

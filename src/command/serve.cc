#include "command/command.h"
#include "command/periodic_tasks.h"
#include "command/progress_meter.h"
#include "command/registry_parts.h"
#include "command/settings.h"
#include "http/server.h"
#include "log.h"
#include "os/signals.h"
#include "pipeline/builder.h"
#include "pipeline/planner.h"
#include "routes.h"

namespace nixery::command {

namespace {

int run(const Arguments& arguments) {
  os::block_termination();  // before any thread starts

  const LoadedConfig loaded = load_settings(arguments);
  const Config& config = loaded.config;
  http::Listener listener = http::find_listener(config.listen);
  RegistryParts parts(config);
  pipeline::Builder builder(parts.pipeline, parts.tree, *parts.source, parts.writer, parts.declared,
                            {config.build_threads, config.queue_length, config.failure_memory});
  builder.drop_outdated_tags();
  pipeline::Planner planner(parts.pipeline, parts.tree, *parts.source, {1, config.queue_length, config.failure_memory});
  const registry_api::RegistryApi registry(builder, parts.tree, {config.hop, config.hops, config.catalog});
  const web::Api web(builder, planner, parts.tree, {config.hop, config.catalog});
  if (listener.cgi) {
    // A CGI process serves one request: SIGTERM ends it, and builds that the request started are completed.
    os::unblock_termination();
    http::serve_cgi(Router({&registry, &web}));
    builder.wait_until_idle();
    return 0;
  }
  for (const std::string& problem : strange_settings_of_environment(loaded.settings))
    log::warning("setting ignored", {{"problem", problem}});
  const PeriodicTask refresher = refreshing(builder, config.refresh);
  const PullRecorder recorder(config, parts.tree.store());
  const PeriodicTask collector = collecting(config, parts.tree.store());
  const DeclarationWatcher watcher(builder, parts);
  ProgressMeter meter(parts, builder, listener.origin);
  health::Status status(parts.metrics, [&] { return meter.read(); }, parts.tree.store(), parts.probe,
                        {.min_free = config.min_free});
  http::serve(Router({&registry, &web, &status}), parts.metrics, std::move(listener),
              {config.threads, config.max_waiting}, [&] { status.drain(); });
  builder.stop();  // before joining the refresh thread
  return 0;
}

}  // namespace

const Command serve = {
    "serve",
    "",
    "answer the web server's FastCGI requests (or one CGI request)",
    "Accepts FastCGI requests on NIXERY_LISTEN or on a socket passed by systemd or spawn-fcgi. Started as a plain CGI\n"
    "program, it answers one request and exits. SIGTERM drains the worker: it stops listening (and removes its own\n"
    "socket), finishes running responses, redirects requests that wait for builds to the same URL, and stops builds,\n"
    "which resume with the next request.\n"
    "Settings are environment variables: see `nixery config`.\n",
    {settings_option},
    "",
    {{"NIXERY_CHANNEL=nixos-unstable nixery serve", "nixpkgs' channel, on the socket in nginx/nixery-http.conf"},
     {"NIXERY_PKGS_PATH=/srv/nixpkgs NIXERY_LISTEN=127.0.0.1:9000 nixery serve", "a checkout, on a port"}},
    "0 after SIGTERM or when the CGI request is answered, 1 if it cannot start",
    {"doctor", "config"},
    run};

}  // namespace nixery::command

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "command/command.h"
#include "command/open_store.h"
#include "command/output.h"
#include "command/settings.h"
#include "command/terminal_style.h"
#include "maintenance/verify.h"
#include "quantity.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

void print_text(const maintenance::Verification& found, bool repair) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  for (const auto& problem : found.problems)
    fmt::print("{}{} {}: {}\n", problem.repaired ? "repaired: " : "", problem.what, text::plain_line(problem.name),
               text::plain_line(problem.message));
  fmt::print("{} blobs, {} manifests, {} tags, {} index entries; {} hashed", found.blobs, found.manifests, found.tags,
             found.index_entries, format_size(found.bytes));
  if (found.evicted > 0) fmt::print("; {} blobs that are gone are made again when they are asked for", found.evicted);
  if (found.problems.empty()) {
    fmt::print("\n{}\n", style.green("no problems found"));
  } else {
    const auto left = std::count_if(found.problems.begin(), found.problems.end(),
                                    [](const maintenance::Problem& problem) { return !problem.repaired; });
    fmt::print("\n{}{}\n", style.yellow(fmt::format("{} problems", found.problems.size())),
               !repair     ? "; `nixery verify --repair` removes the damaged parts, and the next pull builds them again"
               : left == 0 ? ", all repaired: the next pull builds the removed parts again"
                           : fmt::format(", of which {} could not be repaired", left));
  }
}

void print_found(const maintenance::Verification& found) {
  print_json([&](json::Writer& writer) {
    json::key(writer, "sound");
    writer.Bool(found.sound());
    json::member(writer, "blobs", found.blobs);
    json::member(writer, "manifests", found.manifests);
    json::member(writer, "tags", found.tags);
    json::member(writer, "indexEntries", found.index_entries);
    json::member(writer, "evicted", found.evicted);
    json::member(writer, "bytes", found.bytes);
    json::key(writer, "problems");
    writer.StartArray();
    for (const auto& problem : found.problems) {
      writer.StartObject();
      json::member(writer, "what", problem.what);
      json::member(writer, "name", problem.name);
      json::member(writer, "message", problem.message);
      json::key(writer, "repaired");
      writer.Bool(problem.repaired);
      writer.EndObject();
    }
    writer.EndArray();
  });
}

// Rewrites one line as bytes are hashed.
void show_progress(std::uint64_t done, std::uint64_t all) {
  static std::uint64_t shown = 0;
  if (done - shown < all / 200 + 1 && done != all) return;
  shown = done;
  fmt::print(stderr, "\rhashing {} of {} ({}%)\033[K{}", format_size(done), format_size(all),
             all == 0 ? 100 : 100 * done / all, done == all ? "\r\033[K" : "");
}

int run(const Arguments& arguments) {
  maintenance::VerifyOptions options;
  options.repair = arguments.has("--repair");
  if (isatty(STDERR_FILENO)) options.on_progress = show_progress;
  const Config config = load_settings_as_worker(arguments).config;
  options.signatures = !config.signing_key.empty();
  const auto found = maintenance::verify(open_store(config), options);
  arguments.json() ? print_found(found) : print_text(found, options.repair);
  return found.sound() ? 0 : 1;
}

}  // namespace

const Command verify = {
    "verify",
    "",
    "check every byte and every reference of the tree, and repair it",
    "Hashes every blob and manifest of the tree against its name, compares each layer's tar with the diff id in the\n"
    "config, and follows every tag, manifest, index, list of referrers, signature and record to its end. Safe beside\n"
    "pulls and builds.\n",
    {{"--repair", nullptr,
      "remove damaged files and dangling references, which pulls build again; rebuild the index of layers from "
      "recipes"},
     json_option,
     settings_option},
    "sound, blobs, manifests, tags, indexEntries, evicted, bytes, problems (what, name, message, repaired)",
    {{"nixery verify", "after a crash of the machine, or for an unreliable disk"},
     {"nixery verify --repair", "removes damaged parts; pulls build them again with the same digests"}},
    "0 if there are no problems or all were repaired, 1 otherwise",
    {"gc", "doctor"},
    run};

}  // namespace nixery::command

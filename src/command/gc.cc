#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "command/command.h"
#include "command/open_store.h"
#include "command/output.h"
#include "command/settings.h"
#include "command/terminal_style.h"
#include "maintenance/collect.h"
#include "quantity.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

std::chrono::seconds duration(std::string_view option, std::string_view text) {
  if (const auto value = parse_duration(text)) return *value;
  throw Misuse{fmt::format("{}: '{}' is not a duration: give one such as 90s, 15m, 12h or 30d", option, text)};
}

maintenance::Policy policy_of(const Arguments& arguments, maintenance::Policy policy) {
  if (const auto age = arguments.value("--max-age")) policy.max_age = duration("--max-age", *age);
  if (const auto grace = arguments.value("--grace")) policy.grace = duration("--grace", *grace);
  if (const auto size = arguments.value("--max-size")) {
    policy.max_size = parse_size(*size);
    if (!policy.max_size)
      throw Misuse{fmt::format("--max-size: '{}' is not a size: give one such as 500M, 50G or 2T", *size)};
  }
  for (const std::string_view name : arguments.values("--keep")) policy.keep.emplace_back(name);
  return policy;
}

std::string_view name_of(maintenance::DroppedImage::Reason reason) {
  return reason == maintenance::DroppedImage::Reason::age ? "age" : "size";
}

std::string time_of(os::Time time) {
  return fmt::format("{:%FT%TZ}",
                     fmt::gmtime(std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count()));
}

void print_text(bool dry_run, const maintenance::Collection& done) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  for (const auto& image : done.images)
    fmt::print("{}  last used {}, {}\n",
               style.bold(image.names.empty() ? image.manifest.str()
                                              : text::plain_line(fmt::format("{}", fmt::join(image.names, " ")))),
               time_of(image.last_use),
               image.reason == maintenance::DroppedImage::Reason::age ? "too old" : "the tree is too large");
  if (done.clock_jumped)
    fmt::print(
        "The clock jumped since the last run, so no image was removed by age. If the clock stays consistent for a "
        "day,\n"
        "age counts again. If you are sure that it is right, remove NIXERY_STATE/collected and run this again.\n");
  fmt::print("{}{} images ({} tags, {} manifests, {} blobs): {}; {} files of state; {} stay in the tree\n",
             dry_run ? "would remove " : "removed ", done.images.size(), done.tags, done.manifests, done.blobs,
             format_size(done.freed), done.state_files, format_size(done.left));
}

void print_collection(bool dry_run, const maintenance::Collection& done) {
  print_json([&](json::Writer& writer) {
    json::key(writer, "dryRun");
    writer.Bool(dry_run);
    json::key(writer, "images");
    writer.StartArray();
    for (const auto& image : done.images) {
      writer.StartObject();
      json::key(writer, "names");
      writer.StartArray();
      for (const std::string& name : image.names) json::string(writer, name);
      writer.EndArray();
      json::member(writer, "manifest", image.manifest.str());
      json::member(writer, "lastUse", time_of(image.last_use));
      json::member(writer, "reason", name_of(image.reason));
      writer.EndObject();
    }
    writer.EndArray();
    json::member(writer, "tags", done.tags);
    json::member(writer, "manifests", done.manifests);
    json::member(writer, "blobs", done.blobs);
    json::member(writer, "freedBytes", done.freed);
    json::member(writer, "leftBytes", done.left);
    json::member(writer, "stateFiles", done.state_files);
    json::key(writer, "clockJumped");
    writer.Bool(done.clock_jumped);
  });
}

int run(const Arguments& arguments) {
  const Config config = load_settings_as_worker(arguments).config;
  const bool dry_run = arguments.has("--dry-run");
  const auto done =
      maintenance::collect(*open_store(config), config.local(), policy_of(arguments, config.gc), config.use_log,
                           dry_run ? maintenance::Mode::dry_run : maintenance::Mode::real);
  arguments.json() ? print_collection(dry_run, done) : print_text(dry_run, done);
  return 0;
}

}  // namespace

const Command gc = {
    "gc",
    "",
    "remove images that have not been pulled for long, and their data",
    "Removes from the tree the images whose last use is longer ago than --max-age and, while the tree is larger than\n"
    "--max-size, the least recently used ones. Then removes all that only they needed: layers, SBOMs, signatures, "
    "build\n"
    "logs, Nix's roots (nix-collect-garbage can then free the store). Safe during pulls and builds.\n"
    "The last use is the last pull of the manifest in the web server's log (NIXERY_USE_LOG, nginx/nixery-use.conf), "
    "or\n"
    "without that log, the time of the build. A kept name keeps its present image; to keep an image that is pinned by\n"
    "digest, give the digest: sha256:…\n"
    "`nixery serve` does the same periodically if NIXERY_GC_SECONDS is set.\n",
    {{"--dry-run", nullptr, "show what would be removed without removing it"},
     json_option,
     settings_option,
     {"--max-age", "TIME", "such as 12h or 30d; default: NIXERY_GC_MAX_AGE"},
     {"--max-size", "SIZE", "such as 500M or 50G; default: NIXERY_GC_MAX_SIZE"},
     {"--grace", "TIME", "keep images that were used or built within this time; default: NIXERY_GC_GRACE"},
     {"--keep", "NAME",
      "keep images of that repository, repository:tag or digest, besides NIXERY_GC_KEEP; * matches anything", true}},
    "dryRun, images (names, manifest, lastUse, reason), tags, manifests, blobs, freedBytes, leftBytes, stateFiles, "
    "clockJumped",
    {{"nixery gc --dry-run --max-age 30d", "images not pulled for a month; nothing is removed"},
     {"sudo nixery gc --settings /etc/nixery/nixery.env --max-size 50G --keep 'team/*'",
      "on the Debian package's host: down to 50 GB, except images of team/"}},
    "",
    {"verify", "doctor"},
    run};

}  // namespace nixery::command

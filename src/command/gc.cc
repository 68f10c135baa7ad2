#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "command/command.h"
#include "command/registry_parts.h"
#include "json/json.h"
#include "quantity.h"
#include "upkeep/collect.h"

namespace nixery::command {

namespace {

struct Options {
  upkeep::Policy policy;
  bool dry_run = false;
  bool json = false;
};

Options parse(Words words, upkeep::Policy policy) {
  Options options{std::move(policy), false, false};
  const auto duration = [](std::string_view text) {
    if (const auto value = parse_duration(text)) return *value;
    throw Misuse{"give a duration such as 90s, 15m, 12h or 30d"};
  };
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto value = [&] {
      if (++i == words.size()) throw Misuse{"that option needs a value"};
      return words[i];
    };
    if (words[i] == "--json") {
      options.json = true;
    } else if (words[i] == "--dry-run") {
      options.dry_run = true;
    } else if (words[i] == "--max-age") {
      options.policy.max_age = duration(value());
    } else if (words[i] == "--grace") {
      options.policy.grace = duration(value());
    } else if (words[i] == "--max-size") {
      options.policy.max_size = parse_size(value());
      if (!options.policy.max_size) throw Misuse{"give a size such as 500M, 50G or 2T"};
    } else if (words[i] == "--keep") {
      options.policy.keep.emplace_back(value());
    } else {
      throw Misuse{"gc takes options only"};
    }
  }
  return options;
}

std::string_view name_of(upkeep::DroppedImage::Reason reason) {
  return reason == upkeep::DroppedImage::Reason::age ? "age" : "size";
}

std::string time_of(os::Time time) {
  return fmt::format("{:%FT%TZ}",
                     fmt::gmtime(std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count()));
}

void print_text(const Options& options, const upkeep::Collection& done) {
  for (const auto& image : done.images)
    fmt::print("{}  last used {}, {}\n",
               image.names.empty() ? image.manifest.str() : fmt::format("{}", fmt::join(image.names, " ")),
               time_of(image.last_use),
               image.reason == upkeep::DroppedImage::Reason::age ? "too old" : "the tree is too large");
  if (done.clock_jumped)
    fmt::print(
        "The clock has moved far since the last run: nothing went for its age. If it is right now, run again.\n");
  fmt::print("{}{} images ({} tags, {} manifests, {} blobs): {}; {} files of state; {} stay in the tree\n",
             options.dry_run ? "would remove " : "removed ", done.images.size(), done.tags, done.manifests, done.blobs,
             format_size(done.freed), done.state_files, format_size(done.left));
}

void print_json(const Options& options, const upkeep::Collection& done) {
  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::key(writer, "dryRun");
  writer.Bool(options.dry_run);
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
  writer.EndObject();
  fmt::print("{}\n", buffer.GetString());
}

int run(Words words) {
  const Config config = load_config_from_environment().config;
  const Options options = parse(words, config.gc);
  const auto done = upkeep::collect(config.layout, options.policy, config.use_log,
                                    options.dry_run ? upkeep::Mode::dry_run : upkeep::Mode::real);
  options.json ? print_json(options, done) : print_text(options, done);
  return 0;
}

}  // namespace

const Command gc = {
    "gc", "nixery gc [--dry-run] [--json] [--max-age TIME] [--max-size SIZE] [--grace TIME] [--keep NAME]…",
    "remove images that were not pulled for long, and what only they needed",
    "Removes from the tree the images that were last used longer ago than --max-age and, while the tree is larger "
    "than\n"
    "--max-size, those that were not used for longest; then what only they needed: layers, SBOMs, signatures, build "
    "logs,\n"
    "nix's roots (after which nix-collect-garbage can free the store). Safe beside pulls and builds.\n"
    "  --dry-run        tells what would go, and removes nothing\n"
    "  --json           prints it as JSON\n"
    "  --max-age TIME   such as 12h or 30d; default: NIXERY_GC_MAX_AGE\n"
    "  --max-size SIZE  such as 500M or 50G; default: NIXERY_GC_MAX_SIZE\n"
    "  --grace TIME     what was used or made since then always stays; default: NIXERY_GC_GRACE\n"
    "  --keep NAME      images of that repository, or repository:tag, stay; * stands for anything; may be repeated, "
    "and\n"
    "                   adds to NIXERY_GC_KEEP\n"
    "The last use is the last pull of the manifest as the web server logs it (NIXERY_USE_LOG, nginx/nixery-use.conf);\n"
    "without that log, when it was built. `nixery serve` does the same from time to time if NIXERY_GC_SECONDS is "
    "set.\n",
    run};

}  // namespace nixery::command

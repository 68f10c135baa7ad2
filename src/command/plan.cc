#include <fmt/format.h>
#include <unistd.h>

#include "command/command.h"
#include "command/output.h"
#include "command/registry_parts.h"
#include "command/settings.h"
#include "command/terminal_style.h"
#include "pipeline/plan_report.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

void print_text(const pipeline::ResolvedImage& image, const nix::Missing& missing) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  fmt::print("{} for {}/{}, {}, revision {}\n\n{}\n",
             style.bold(fmt::format("{}:{}", image.reference.repository, image.reference.tag)), image.platform.os,
             image.platform.architecture(), image.encoding.name(), image.source.revision.id, style.bold("packages:"));
  for (const nix::Package* package : image.contents()) {
    fmt::print("  {} {}  {}\n", style.green(package->attribute), text::plain_line(package->version),
               text::plain_line(package->description));
    for (const nix::Output& output : package->outputs)
      fmt::print("    {}\n", style.dim(fmt::format("{}  {}", text::plain_line(output.name), output.path.str())));
  }
  if (missing.complete()) return;
  fmt::print("\n{} {} to build, {} to fetch{}\n", style.bold("not in the store yet:"), missing.to_build.size(),
             missing.to_fetch.size(), missing.download.empty() ? "" : " (" + text::plain_line(missing.download) + ")");
  for (const std::string& path : missing.to_build) fmt::print("  build {}\n", text::plain_line(path));
  for (const std::string& path : missing.to_fetch) fmt::print("  fetch {}\n", text::plain_line(path));
  fmt::print("the layers can be planned when all paths are in the store: run `nixery build`\n");
}

void print_layers(const pipeline::PlanReport& report) {
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  const auto& [closure, layers, with_root] = report.layered;
  std::uint64_t present = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) present += report.in_tree[i] ? layers[i].nar_size : 0;
  fmt::print("\nclosure: {} paths, {}, in {} layer{} {} the root file system; {} of it is in the tree\n",
             closure.paths.size(), megabytes(closure.nar_size()), layers.size(), layers.size() == 1 ? "" : "s",
             with_root ? "with" : "and", megabytes(present));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    fmt::print("{:3}. {:>10}  {}{}{}\n", i + 1, megabytes(layers[i].nar_size), layers[i].reason,
               i == with_root ? ", with the root file system" : "",
               report.in_tree[i] ? "  " + style.green("[in the tree]") : "");
    for (const auto index : layers[i].paths) {
      const store::PathInfo& info = closure.paths[index];
      fmt::print("       {:>10}  {}\n", megabytes(info.nar_size), info.path.name());
    }
  }
}

void show(const RegistryParts& parts, pipeline::ResolvedImage image, bool as_json) {
  const auto report = pipeline::report_plan(parts.pipeline, parts.tree, std::move(image), {});
  if (as_json) {
    fmt::print("{}\n", text::plain_json(pipeline::to_json(report)));
  } else {
    print_text(report.image, report.missing);
    if (report.missing.complete()) print_layers(report);
  }
}

int run(const Arguments& arguments) {
  const std::string_view name = the_one_image(arguments);
  const bool as_json = arguments.json();
  RegistryParts parts(load_settings_as_worker(arguments).config);
  const auto reference = parts.find(name);
  pipeline::Progress nobody_watches;
  const auto source = parts.pipeline.pin(reference, nobody_watches, {});
  // For an index: every member.
  const auto platforms = reference.platform ? std::vector{*reference.platform} : parts.config.platforms;
  for (const reference::Platform& platform : platforms) {
    auto wanted = reference;
    wanted.platform = platform;
    show(parts, parts.pipeline.resolve(wanted, source, nobody_watches, {}), as_json);
  }
  return 0;
}

}  // namespace

const Command plan = {
    "plan",
    "REF",
    "show an image's contents and layers without building it",
    "Shows the packages with their versions and the store paths that Nix would have to build or fetch. If all paths\n"
    "are in the store, also shows the layers: contents, reason, and whether the tree has it already. For several\n"
    "platforms, shows one after the other; --json then prints one line of JSON for each.\n",
    {json_option, settings_option},
    "reference, system, encoding, revision, packages, toBuildCount, toFetchCount, toBuild, toFetch, download; once\n"
    "  all paths are in the store also closurePaths, closureBytes, layers (bytes, reason, inTree, paths, and\n"
    "  withRootFileSystem if that has no layer of its own)",
    {{"nixery plan shell/git", "packages, missing store paths, layers"},
     {"nixery plan --json shell/git | jq .packages", "the packages as JSON"}},
    "",
    {"build", "popularity"},
    run};

}  // namespace nixery::command

#include <fmt/format.h>
#include <unistd.h>

#include "command/command.h"
#include "command/output.h"
#include "command/registry_parts.h"
#include "command/settings.h"
#include "command/terminal.h"
#include "command/terminal_style.h"
#include "error.h"
#include "image/parse.h"
#include "os/file.h"
#include "pipeline/export.h"
#include "pipeline/image_pipeline.h"
#include "text/plain_text.h"

namespace nixery::command {

namespace {

struct Totals {
  std::size_t layers = 0;
  std::uint64_t bytes = 0;
};

// Totals over all images of an index; a shared layer counts for each.
Totals totals_of(const tree::Tree& tree, const tree::StoredManifest& manifest) {
  Totals totals;
  const auto links = image::parse_manifest(manifest.bytes, manifest.digest);
  for (const image::ParsedDescriptor& layer : links.layers) {
    ++totals.layers;
    totals.bytes += layer.size;
  }
  for (const image::ParsedDescriptor& member : links.members)
    if (const auto stored = tree.manifest(member.digest)) {
      const Totals of_member = totals_of(tree, *stored);
      totals.layers += of_member.layers;
      totals.bytes += of_member.bytes;
    }
  return totals;
}

void print_built(const std::string& name, const pipeline::BuiltImage& built, const tree::StoredManifest& manifest,
                 const Totals& totals) {
  print_json([&](json::Writer& writer) {
    json::member(writer, "reference", name);
    json::member(writer, "digest", manifest.digest.str());
    json::member(writer, "mediaType", image::name_of(manifest.type));
    json::member(writer, "revision", built.revision.id);
    json::member(writer, "layers", totals.layers);
    json::member(writer, "bytes", totals.bytes);
    json::key(writer, "warnings");
    writer.StartArray();
    for (const std::string& warning : built.warnings) json::string(writer, warning);
    writer.EndArray();
  });
}

// Checked before a long build, because the worker's user cannot write everywhere.
void require_writable(const std::filesystem::path& directory) {
  std::filesystem::path there = std::filesystem::absolute(directory);
  std::error_code absent;
  while (!std::filesystem::exists(there, absent) && there.has_relative_path()) there = there.parent_path();
  if (access(there.c_str(), W_OK | X_OK) != 0) os::throw_errno("write into", there);
}

int run(const Arguments& arguments) {
  const std::string_view wanted = the_one_image(arguments);
  const std::string oci = arguments.value_or("--oci", ""), docker_archive = arguments.value_or("--docker-archive", "");
  const LoadedConfig loaded = load_settings_as_worker(arguments);
  if (!oci.empty()) require_writable(oci);
  if (!docker_archive.empty()) require_writable(std::filesystem::absolute(docker_archive).parent_path());
  RegistryParts parts(loaded.config);
  const auto reference = parts.find(wanted);
  const std::string name = fmt::format("{}:{}", reference.repository, reference.tag);

  pipeline::BuiltImage built = [&] {
    ProgressLine line(arguments.json() ? ProgressLine::Style::silent : ProgressLine::style_for_standard_error());
    pipeline::Progress progress([&](const pipeline::Snapshot& snapshot) { line.show(snapshot); });
    return parts.pipeline.run(reference, progress, {}, pipeline::ExistingTag::is_replaced);
  }();
  const auto manifest = parts.tree.manifest(built.manifest);
  if (!manifest) throw Error(Failure::storage, "the manifest that was just written is gone");

  if (!oci.empty()) pipeline::export_oci_layout(parts.tree, built.manifest, name, oci);
  if (!docker_archive.empty())
    pipeline::export_docker_archive(parts.tree, built.manifest, parts.config.platforms.front().architecture(), name,
                                    docker_archive);
  const Totals totals = totals_of(parts.tree, *manifest);
  if (arguments.json()) {
    print_built(name, built, *manifest, totals);
    return 0;
  }
  const TerminalStyle style = TerminalStyle::of(STDOUT_FILENO);
  for (const std::string& warning : built.warnings)
    fmt::print(stderr, "{} {}\n", TerminalStyle::of(STDERR_FILENO).yellow("warning:"), text::plain_line(warning));
  fmt::print("{} {}\n{} layers, {:.1f} MB compressed\n", style.bold(name), style.green(manifest->digest.str()),
             totals.layers, static_cast<double>(totals.bytes) / 1e6);
  if (!oci.empty()) fmt::print("OCI layout: {}\n", oci);
  if (!docker_archive.empty()) fmt::print("archive for docker load: {}\n", docker_archive);
  return 0;
}

}  // namespace

const Command build = {
    "build",
    "REF",
    "build an image without a server",
    "Builds the image into the tree (NIXERY_TREE), like a pull. REF is a name as for docker pull, without "
    "the\n"
    "host: shell/git, arm64/curl, python3packages.requests:nixos-23.11, or a declared image. Progress is shown on\n"
    "standard error: one line on a terminal, a line for each step elsewhere.\n",
    {json_option,
     settings_option,
     {"--oci", "DIR", "also write it into an OCI layout directory, for skopeo, podman, umoci"},
     {"--docker-archive", "FILE", "also write it into an archive for docker load"}},
    "reference, digest, mediaType, revision, layers, bytes, warnings",
    {{"nixery build shell/git", "into the tree; the first pull then does not wait"},
     {"nixery build --oci ./image shell/curl", "also into ./image, for skopeo copy oci:./image …"}},
    "",
    {"plan", "export", "serve"},
    run};

}  // namespace nixery::command

#include <map>
#include <set>

#include "command/command.h"
#include "command/open_store.h"
#include "command/output.h"
#include "command/settings.h"
#include "error.h"
#include "image/parse.h"
#include "layer/recipe.h"
#include "plan/popularity.h"
#include "store/store_path.h"
#include "tree/records.h"
#include "tree/tree.h"

namespace nixery::command {

namespace {

// The images that a manifest stands for: of an index, all its members. Nothing for one that is gone or damaged.
void collect_images(const tree::Tree& tree, const image::Digest& digest,
                    std::map<image::Digest, image::ParsedManifest>& images) {
  const auto stored = tree.manifest(digest);
  if (!stored || images.contains(digest)) return;
  try {
    auto manifest = image::parse_manifest(stored->bytes, digest);
    for (const image::ParsedDescriptor& member : manifest.members) collect_images(tree, member.digest, images);
    if (!manifest.is_index()) images.emplace(digest, std::move(manifest));
  } catch (const Error&) {  // which `nixery verify` reports
  }
}

// The packages in an image, from the recipes of its layers; each once, even with several paths.
std::set<std::string> packages_of(const tree::Tree& tree, const image::ParsedManifest& image) {
  std::set<std::string> names;
  for (const image::ParsedDescriptor& layer : image.layers) {
    const auto recipe = layer::read_recipe(tree.store(), layer.digest);
    if (!recipe) continue;
    for (const layer::Segment& segment : recipe->segments)
      if (const auto path = store::StorePath::parse(segment.path)) names.emplace(plan::package_name(path->name()));
  }
  return names;
}

int run(const Arguments& arguments) {
  const Config config = load_settings(arguments).config;
  const tree::Tree tree(open_store(config));
  // An image with several names counts once.
  std::map<image::Digest, image::ParsedManifest> images;
  tree::for_each_record(tree.store(), [&](const tree::TagRecord& record) {
    if (const auto digest = image::Digest::parse(record.manifest)) collect_images(tree, *digest, images);
  });
  std::map<std::string, std::uint64_t> counts;
  for (const auto& [digest, image] : images)
    for (const std::string& name : packages_of(tree, image)) ++counts[name];

  print_json([&](json::Writer& writer) {
    for (const auto& [name, count] : counts) json::member(writer, name, count);
  });
  return 0;
}

}  // namespace

const Command popularity = {
    "popularity",
    "",
    "count in how many built images each package occurs",
    "Prints a JSON object, package -> number of the images in the tree that hold it, for NIX_POPULARITY_URL: with it,\n"
    "the layers that many images share are kept apart where there are not layers enough for all. An index counts as\n"
    "one image for each of its platforms.\n",
    {{"--json", nullptr, "print JSON, which is the default"}, settings_option},
    "a number for each package, under its name",
    {{"nixery popularity >popularity.json", "count the images in this tree"},
     {"NIX_POPULARITY_URL=$PWD/popularity.json nixery plan shell/git", "show the plan with these counts"}},
    "",
    {"plan", "config"},
    run};

}  // namespace nixery::command

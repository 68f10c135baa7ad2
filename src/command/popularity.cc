#include <map>
#include <set>

#include "command/command.h"
#include "command/output.h"
#include "command/settings.h"
#include "layer/recipe.h"
#include "plan/popularity.h"
#include "store/store_path.h"
#include "tree/records.h"
#include "tree/tree.h"

namespace nixery::command {

namespace {

// The packages in an image, from the recipes of its layers; each once, however many of its paths are there.
std::set<std::string> packages_of(const tree::Tree& tree, const image::Digest& digest) {
  std::set<std::string> names;
  const auto manifest = tree.manifest(digest);
  if (!manifest) return names;
  const auto document = json::parse(manifest->bytes, digest.str());
  const json::Value* layers = json::find(document, "layers");
  if (!layers || !layers->IsArray()) return names;
  for (const json::Value& layer : layers->GetArray()) {
    const auto blob = image::Digest::parse(json::string_or(layer, "digest", ""));
    const auto recipe = blob ? layer::read_recipe(tree.layout(), *blob) : std::nullopt;
    if (!recipe) continue;
    for (const layer::Segment& segment : recipe->segments)
      if (const auto path = store::StorePath::parse(segment.path)) names.emplace(plan::package_name(path->name()));
  }
  return names;
}

int run(const Arguments& arguments) {
  const Config config = load_settings(arguments).config;
  const tree::Tree tree(config.layout);
  // Two names of one image count once.
  std::set<std::string> manifests;
  tree::for_each_record(config.layout, [&](const tree::TagRecord& record) { manifests.insert(record.manifest); });
  std::map<std::string, std::uint64_t> counts;
  for (const std::string& manifest : manifests)
    if (const auto digest = image::Digest::parse(manifest))
      for (const std::string& name : packages_of(tree, *digest)) ++counts[name];

  print_json([&](json::Writer& writer) {
    for (const auto& [name, count] : counts) json::member(writer, name, count);
  });
  return 0;
}

}  // namespace

const Command popularity = {
    "popularity",
    "",
    "count in how many of the built images each package is",
    "Prints a JSON object, package -> number of the images in the tree that hold it, for NIX_POPULARITY_URL: with it,\n"
    "the layers that many images share are kept apart where there are not layers enough for all.\n",
    {{"--json", nullptr, "print JSON, as it does anyway"}, settings_option},
    "a number for each package, under its name",
    {{"nixery popularity >popularity.json", "count what has been built here"},
     {"NIX_POPULARITY_URL=$PWD/popularity.json nixery plan shell/git", "what it would change"}},
    "",
    {"plan", "config"},
    run};

}  // namespace nixery::command

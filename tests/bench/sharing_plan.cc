// The planner as a filter for tests/bench/sharing: reads images, writes plans, with the real store::Closure.
//
//   sharing_plan [--layers N] [--unit BYTES] [--popularity FILE] < images
//
// The input is one image after another: a line "image NAME" and the closure as `nix-store --dump-db` prints it, ended
// by a line "end". The output is one JSON line for each image:
// {"image":…,"microseconds":…,"layers":[{"reason":…,"nar_size":…,"left_over":…,"paths":[…]},…]}.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "error.h"
#include "json/json.h"
#include "plan/plan.h"
#include "plan/popularity.h"

namespace {

using namespace nixery;

void plan_image(const std::string& name, const std::string& dump, const plan::Settings& settings) {
  const store::Closure closure = store::parse_dump_db(dump);
  const auto start = std::chrono::steady_clock::now();
  const auto layers = plan::plan_layers(closure, settings);
  const auto took = std::chrono::steady_clock::now() - start;

  json::Buffer buffer;
  json::Writer writer(buffer);
  writer.StartObject();
  json::member(writer, "image", name);
  json::member(writer, "microseconds",
               static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  json::key(writer, "layers");
  writer.StartArray();
  for (const plan::Layer& layer : layers) {
    writer.StartObject();
    json::member(writer, "reason", layer.reason);
    json::member(writer, "nar_size", layer.nar_size);
    json::key(writer, "left_over");
    writer.Bool(layer.left_over);
    json::key(writer, "paths");
    writer.StartArray();
    for (const auto path : layer.paths) json::string(writer, closure.paths[path].path.str());
    writer.EndArray();
    writer.EndObject();
  }
  writer.EndArray();
  writer.EndObject();
  std::cout << buffer.GetString() << '\n';
}

}  // namespace

int main(int argc, char** argv) try {
  plan::Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string option = argv[i], value = argv[i + 1];
    if (option == "--layers") settings.max_layers = static_cast<unsigned>(std::stoul(value));
    if (option == "--unit") settings.unit_size = std::stoull(value);
    if (option == "--popularity") {
      std::ifstream file(value);
      settings.popularity = plan::parse_popularity(std::string(std::istreambuf_iterator<char>(file), {}), value);
    }
  }
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    if (!line.starts_with("image ")) throw std::runtime_error("expected a line \"image NAME\", not: " + line);
    std::string dump;
    for (std::string record; std::getline(std::cin, record) && record != "end";) dump += record + '\n';
    plan_image(line.substr(6), dump, settings);
  }
} catch (const std::exception& error) {
  std::cerr << "sharing_plan: " << error.what() << '\n';
  return 1;
}

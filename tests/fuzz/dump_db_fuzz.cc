// The output of `nix-store --dump-db`.
#include <fmt/format.h>

#include <algorithm>

#include "check.h"
#include "store/closure.h"

using namespace nixery;
using fuzz::require;

namespace {

std::string record(const store::Closure& closure, const store::PathInfo& info) {
  std::string text =
      fmt::format("{}\n{}\n{}\n\n{}\n", info.path.str(), info.nar_hash, info.nar_size, info.references.size());
  for (const std::uint32_t reference : info.references) text += closure.paths[reference].path.str() + "\n";
  return text;
}

void require_same(const store::Closure& a, const store::Closure& b) {
  const auto same = [](const store::PathInfo& x, const store::PathInfo& y) {
    return x.path == y.path && x.nar_hash == y.nar_hash && x.nar_size == y.nar_size && x.references == y.references;
  };
  require(std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(), b.paths.end(), same),
          "printed and parsed again it is the same, in any order");
}

void check(const store::Closure& closure) {
  for (std::size_t i = 0; i < closure.paths.size(); ++i) {
    const store::PathInfo& info = closure.paths[i];
    const std::string& path = info.path.str();
    require(store::StorePath::parse(path) == info.path, "a path is a store path", path);
    require(i == 0 || closure.paths[i - 1].path < info.path, "paths are ascending, each once", path);
    require(fuzz::is_hex(info.nar_hash, 64), "the hash is 64 hex", info.nar_hash);
    for (std::size_t k = 0; k < info.references.size(); ++k) {
      require(info.references[k] < closure.paths.size(), "references are inside", path);
      require(info.references[k] != i, "no path refers to itself", path);
      require(k == 0 || info.references[k - 1] < info.references[k], "references are ascending, each once", path);
    }
  }
  std::string forwards, backwards;
  for (const store::PathInfo& info : closure.paths) {
    const std::string text = record(closure, info);
    forwards += text;
    backwards.insert(0, text);
  }
  require_same(store::parse_dump_db(forwards), closure);
  require_same(store::parse_dump_db(backwards), closure);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  store::Closure closure;
  try {
    closure = store::parse_dump_db(text);
  } catch (const Error& error) {
    require(error.failure() == Failure::unavailable && fuzz::is_presentable(error.what()),
            "a malformed dump is unavailable", error.what());
    return 0;
  }
  check(closure);
  return 0;
}
